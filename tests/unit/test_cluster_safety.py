"""Tests refuse a cluster that is not theirs."""

from pathlib import Path

import pytest
from tests.cluster import marker
from tests.cluster.certificates import Authority, write_kubeconfig
from tests.cluster.network import free_ports
from tests.cluster.safety import ALLOW_VARIABLE, ForeignClusterError, assert_ours, foreign_reason

SERVER = "https://10.180.0.2:6443"


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a cluster named production, behind an address where nobody listens."""
    monkeypatch.delenv(ALLOW_VARIABLE, raising=False)
    authority = Authority(tmp_path, "ca")
    client = authority.issue("someone", "someone")
    url = f"https://127.0.0.1:{free_ports(1)[0]}"
    return write_kubeconfig(tmp_path / "config", url, authority.certificate, client, "production")


def test_our_mark_for_this_server_makes_the_cluster_ours() -> None:
    assert foreign_reason(marker.manifest("0123abcd", "bare", SERVER), SERVER) is None


def test_a_cluster_without_the_mark_is_foreign() -> None:
    assert foreign_reason(None, SERVER) == "this cluster was not made by tests.cluster"


def test_a_mark_that_belongs_to_another_server_is_foreign() -> None:
    mark = marker.manifest("0123abcd", "bare", "https://10.181.0.2:6443")
    assert foreign_reason(mark, SERVER) == "its mark belongs to the server https://10.181.0.2:6443"


def test_a_cluster_that_does_not_answer_is_refused_with_the_remedy(kubeconfig: Path) -> None:
    with pytest.raises(ForeignClusterError, match=f"set {ALLOW_VARIABLE}=production"):
        assert_ours(kubeconfig)


def test_a_person_may_allow_a_context_by_its_name(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_VARIABLE, "production")
    assert_ours(kubeconfig)


def test_allowing_another_context_allows_nothing(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_VARIABLE, "staging")
    with pytest.raises(ForeignClusterError):
        assert_ours(kubeconfig)


@pytest.mark.parametrize("content", ["", "{}", "current-context: a\ncontexts: []", "::"])
def test_an_unusable_kubeconfig_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config").write_text(content)
    with pytest.raises(ForeignClusterError, match="has no usable context"):
        assert_ours(tmp_path / "config")
