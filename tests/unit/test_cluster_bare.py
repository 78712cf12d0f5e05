"""What the bare node decides before it touches the machine."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.cluster import remains
from tests.cluster.bare import BareNode
from tests.cluster.namespaces import MARK
from tests.cluster.process import Daemon, ProcessIdentity, wait_until
from tests.cluster.provider import ClusterError, cluster_id, select


def write_state(node: BareNode, **changes: object) -> None:
    me = ProcessIdentity.of(os.getpid())
    state = {
        "provider": "bare",
        "id": node.id,
        "subnet": "10.180.0.0/16",
        "snapshotter": "overlayfs",
        "cniPlugins": "/usr/lib/cni",
        "holder": asdict(me),
        "daemons": {"kubelet": asdict(me)},
    }
    node.directory.mkdir(exist_ok=True)
    (node.directory / "cluster.json").write_text(json.dumps(state | changes))


@pytest.fixture
def node(tmp_path: Path) -> BareNode:
    return BareNode(tmp_path / ".cluster")


def test_without_root_it_says_what_to_do(node: BareNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match=r"needs root.*or start a Docker engine"):
        node.up()
    assert not node.directory.exists()


def test_each_checkout_has_a_cluster_of_its_own(tmp_path: Path) -> None:
    assert cluster_id(tmp_path / "a" / ".cluster") != cluster_id(tmp_path / "b" / ".cluster")


def test_a_state_that_came_with_a_copy_of_another_checkout_is_not_ours(node: BareNode) -> None:
    write_state(node, id="00000000")
    assert not node.exists()
    assert not node.status().running


@pytest.mark.parametrize("content", ["", "[]", '{"provider": "bare"'])
def test_a_damaged_state_is_no_cluster(node: BareNode, content: str) -> None:
    node.directory.mkdir()
    (node.directory / "cluster.json").write_text(content)
    assert not node.exists()


def test_a_node_from_before_a_restart_of_the_machine_does_not_run(node: BareNode) -> None:
    earlier = asdict(replace(ProcessIdentity.of(os.getpid()), boot_id="of the boot before"))
    write_state(node, holder=earlier, daemons={"kubelet": earlier})
    status = node.status()
    assert not status.running
    assert status.faults == ["the node's processes have ended (killed, or the machine was restarted)"]


def test_a_part_that_has_ended_makes_the_node_unhealthy(node: BareNode) -> None:
    ended = asdict(replace(ProcessIdentity.of(os.getpid()), start_ticks=1))
    write_state(node, daemons={"kubelet": ended})
    status = node.status()
    assert status.running
    assert not status.healthy
    assert status.faults == ["kubelet is not running"]


def test_images_need_a_running_cluster(node: BareNode, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="there is no running cluster"):
        node.load_image(tmp_path / "image.tar")


def test_a_checkout_that_never_had_a_cluster_left_nothing(node: BareNode) -> None:
    assert node.leftovers() == []


def test_a_marked_process_is_found_by_the_mark_of_its_cluster(node: BareNode, tmp_path: Path) -> None:
    daemon = Daemon.start("marked", ["sleep", "600"], tmp_path / "log", {MARK: node.id})
    try:
        # a new program's variables can be read only a moment after it has started
        assert wait_until(lambda: node.leftovers() != [], 30)
        assert [line.split(":")[1].strip() for line in node.leftovers()] == ["sleep 600"]
        assert remains.clear(node.id, node.directory) == []
        assert not daemon.identity.alive()
    finally:
        daemon.stop()


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(ClusterError, match="no such provider: minikube"):
        select("minikube")
