"""The test cluster's addresses touch no network of the machine."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cluster.network import CANDIDATES, NoFreeSubnetError, Subnets, choose_subnets

networks = st.builds(
    lambda number, prefix: IPv4Network((number, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(13, 32),
)


@given(st.lists(networks, max_size=30))
def test_the_chosen_range_overlaps_with_no_used_network(used: list[IPv4Network]) -> None:
    chosen = choose_subnets(used).whole
    assert not any(chosen.overlaps(network) for network in used)


def test_without_a_free_range_it_says_so() -> None:
    with pytest.raises(NoFreeSubnetError, match="are in use on this machine"):
        choose_subnets([IPv4Network("10.0.0.0/8")])


def test_nothing_in_a_range_overlaps() -> None:
    subnets = Subnets(CANDIDATES[0])
    link = IPv4Network((subnets.host, subnets.link_prefix), strict=False)
    assert subnets.node in link
    assert subnets.dns in subnets.services
    parts = [link, subnets.pods, subnets.services]
    assert all(part.subnet_of(subnets.whole) for part in parts)
    assert not any(a.overlaps(b) for a in parts for b in parts if a is not b)


def test_the_nodes_address_is_not_a_network_or_broadcast_address() -> None:
    subnets = Subnets(CANDIDATES[0])
    link = IPv4Network((subnets.host, subnets.link_prefix), strict=False)
    reserved: set[IPv4Address] = {link.network_address, link.broadcast_address}
    assert not {subnets.host, subnets.node} & reserved
