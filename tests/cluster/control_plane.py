"""A real etcd and kube-apiserver on free loopback ports, for tests that need no pods."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import components
from tests.cluster.api import ApiClient
from tests.cluster.binaries import ensure
from tests.cluster.network import free_ports
from tests.cluster.process import Daemon, ProcessDiedError, log_tail, tied_to_this_process, wait_until

READY_SECONDS = 120
LESS_GARBAGE_COLLECTION = {"GOGC": "300"}
"""For all programs, which are written in Go: a quarter of their work, for twice their memory."""
ATTEMPTS = 3
SERVICE_CIDR = "10.0.0.0/16"
"""Room for the Services of thousands of ModelDeployments."""

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  verbs: [create, update, patch, delete, deletecollection]
- level: Metadata
"""
WRITES_ONLY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  resources: [{{group: coordination.k8s.io, resources: [leases]}}]
- level: {level}
  verbs: [create, update, patch, delete, deletecollection]
- level: None
"""
"""Of ``level`` (Metadata, Request); neither readers nor leases, which are written for ever."""


@dataclass(frozen=True)
class _Wanted:
    controllers: bool
    audit_policy: str
    """Empty: no audit log."""
    manager_options: Sequence[str]


@dataclass
class ControlPlane:
    """A throw-away control plane; `stop` ends it, and so does the end of the process that started it.

    RBAC is on. Without `controllers` nothing makes default service accounts, collects garbage or finishes
    the deletion of a namespace.
    """

    directory: Path
    url: str
    kubeconfig: Path
    """The administrator's."""
    audit_log: Path | None = None
    """One JSON object per request, with bodies of those that write."""
    daemons: list[Daemon] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        directory: Path,
        controllers: bool = False,
        audit: bool = False,
        audit_policy: str = AUDIT_POLICY,
        manager_options: Sequence[str] = (),
    ) -> ControlPlane:
        """Starts one in that (new or empty) directory and returns when it is ready.

        ``manager_options`` are further options of the controller manager.

        Must be called from the main thread for the kernel to end it with the process; elsewhere it works
        too, but only `stop` ends it. Raises ProcessDiedError or TimeoutError with the end of the logs, and
        binaries.BinaryUnavailableError.
        """
        names = ["etcd", "kube-apiserver", *(["kube-controller-manager"] if controllers else [])]
        programs = ensure(*names)
        wanted = _Wanted(controllers, audit_policy if audit else "", manager_options)
        for attempt in range(1, ATTEMPTS + 1):
            home = directory.absolute() / f"attempt-{attempt}"
            try:
                return cls._start_once(home, programs, wanted)
            except ProcessDiedError as died:
                # somebody else took a port between our look and the server's bind
                if "address already in use" not in str(died) or attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    @classmethod
    def _start_once(cls, directory: Path, programs: dict[str, Path], wanted: _Wanted) -> ControlPlane:
        client_port, peer_port, port, controllers_port = free_ports(4)
        url = f"https://127.0.0.1:{port}"
        identities = components.Identities.create(directory / "pki", url, "model-operator-tests", [])
        kubeconfig = identities.kubeconfig("admin", ["system:masters"], directory / "kubeconfig")
        audit_log = directory / "audit.log" if wanted.audit_policy else None
        policy = directory / "audit-policy.yaml"
        policy.write_text(wanted.audit_policy)
        plane = cls(directory, url, kubeconfig, audit_log)
        etcd_url = f"http://127.0.0.1:{client_port}"
        plan = components.ApiServerPlan(
            bind_address="127.0.0.1",
            port=port,
            etcd_url=etcd_url,
            service_cidr=SERVICE_CIDR,
            identities=identities,
            has_node=False,
            has_controllers=wanted.controllers,
            audit_log=audit_log,
            audit_policy=policy,
        )
        data = directory / "etcd"
        data.mkdir(mode=0o700)
        try:
            plane._run(
                "etcd", components.etcd(programs["etcd"], data, etcd_url, f"http://127.0.0.1:{peer_port}")
            )
            plane._run("kube-apiserver", components.kube_apiserver(programs["kube-apiserver"], plan))
            plane._wait_ready()
            if wanted.controllers:
                manager = programs["kube-controller-manager"]
                command = components.kube_controller_manager(
                    manager, identities, secure_port=controllers_port
                )
                plane._run("kube-controller-manager", [*command, *wanted.manager_options])
                plane._wait_for_default_service_account()
        except BaseException:
            plane.stop()
            raise
        return plane

    def _run(self, name: str, command: Sequence[str]) -> None:
        tied = tied_to_this_process() if threading.current_thread() is threading.main_thread() else []
        log = self.directory / f"{name}.log"
        self.daemons.append(Daemon.start(name, [*tied, *command], log, LESS_GARBAGE_COLLECTION))

    def _wait_ready(self) -> None:
        with ApiClient(self.kubeconfig) as api:

            def ready() -> bool:
                for daemon in self.daemons:
                    daemon.check()
                return api.ready()

            if not wait_until(ready, READY_SECONDS):
                logs = "\n".join(f"{d.log}:\n{log_tail(d.log)}" for d in self.daemons)
                raise TimeoutError(f"kube-apiserver is not ready after {READY_SECONDS} s.\n{logs}")

    def _wait_for_default_service_account(self) -> None:
        with ApiClient(self.kubeconfig) as api:

            def there() -> bool:
                for daemon in self.daemons:
                    daemon.check()
                return api.get("/api/v1/namespaces/default/serviceaccounts/default") is not None

            if not wait_until(there, READY_SECONDS):
                raise TimeoutError("kube-controller-manager has not made the default service account")

    def stop(self) -> None:
        """Ends all processes, the newest first. Harmless when called twice."""
        while self.daemons:
            # nothing in there is worth a long goodbye
            self.daemons.pop().stop(grace_seconds=1.0)
