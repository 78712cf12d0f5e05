"""The command lines of Kubernetes' components, as pure functions of where things are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.certificates import Authority, KeyPair, write_kubeconfig, write_signing_keys

CLUSTER_DOMAIN = "cluster.local"


@dataclass(frozen=True)
class Identities:
    """Everything that the components show each other to be trusted."""

    directory: Path
    url: str
    context: str
    authority: Authority
    front_proxy_authority: Authority
    front_proxy: KeyPair
    server: KeyPair
    kubelet_client: KeyPair
    signing_keys: KeyPair

    @classmethod
    def create(cls, directory: Path, url: str, context: str, server_addresses: Sequence[str]) -> Identities:
        """New keys for one cluster; the API server answers for all of these names and addresses."""
        authority = Authority(directory, "ca")
        front_proxy_authority = Authority(directory, "front-proxy-ca")
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        names += [f"kubernetes.default.svc.{CLUSTER_DOMAIN}", "localhost", "127.0.0.1", *server_addresses]
        return cls(
            directory=directory,
            url=url,
            context=context,
            authority=authority,
            front_proxy_authority=front_proxy_authority,
            front_proxy=front_proxy_authority.issue("front-proxy", "front-proxy-client"),
            server=authority.issue("kube-apiserver", "kube-apiserver", addresses=names),
            kubelet_client=authority.issue(
                "apiserver-kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"]
            ),
            signing_keys=write_signing_keys(directory),
        )

    def kubeconfig(self, user: str, organizations: Sequence[str] = (), path: Path | None = None) -> Path:
        """A kubeconfig for one user of the cluster, with a certificate of its own."""
        file_name = user.replace(":", "-")
        client = self.authority.issue(file_name, user, organizations)
        target = path or self.directory / f"{file_name}.kubeconfig"
        return write_kubeconfig(target, self.url, self.authority.certificate, client, self.context)


def etcd(program: Path, data: Path, client_url: str, peer_url: str) -> list[str]:
    return [
        str(program),
        "--name=default",
        f"--data-dir={data}",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
        # the data is thrown away with the cluster
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


@dataclass(frozen=True)
class ApiServerPlan:
    """What differs between the API server of a node and the small one of the integration tests."""

    bind_address: str
    port: int
    etcd_url: str
    service_cidr: str
    identities: Identities
    has_node: bool
    has_controllers: bool
    audit_log: Path | None = None
    audit_policy: Path | None = None


def kube_apiserver(program: Path, plan: ApiServerPlan) -> list[str]:
    ids = plan.identities
    issuer = f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}"
    command = [
        str(program),
        f"--bind-address={plan.bind_address}",
        f"--advertise-address={plan.bind_address}",
        f"--secure-port={plan.port}",
        f"--etcd-servers={plan.etcd_url}",
        f"--service-cluster-ip-range={plan.service_cidr}",
        f"--authorization-mode={'Node,' if plan.has_node else ''}RBAC",
        f"--client-ca-file={ids.authority.certificate}",
        f"--tls-cert-file={ids.server.certificate}",
        f"--tls-private-key-file={ids.server.key}",
        f"--service-account-issuer={issuer}",
        f"--service-account-key-file={ids.signing_keys.certificate}",
        f"--service-account-signing-key-file={ids.signing_keys.key}",
        f"--requestheader-client-ca-file={ids.front_proxy_authority.certificate}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={ids.front_proxy.certificate}",
        f"--proxy-client-key-file={ids.front_proxy.key}",
        "--profiling=false",
        "--v=1",
    ]
    if plan.has_node:
        command += [
            f"--kubelet-certificate-authority={ids.authority.certificate}",
            f"--kubelet-client-certificate={ids.kubelet_client.certificate}",
            f"--kubelet-client-key={ids.kubelet_client.key}",
            # a node's name resolves nowhere, and logs, exec and port-forward would go by it
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
            "--enable-admission-plugins=NodeRestriction",
            # aggregated APIs are reached at their endpoints, without waiting for kube-proxy's rules
            "--enable-aggregator-routing=true",
        ]
    else:
        # the kubernetes Service may not point to a loopback address, and nothing here follows it
        command.append("--endpoint-reconciler-type=none")
        # as on OpenShift: who gives an object an owner must be allowed to delete it
        command.append("--enable-admission-plugins=OwnerReferencesPermissionEnforcement")
    if not plan.has_controllers:
        # nobody makes the default service accounts that this plugin asks for
        command.append("--disable-admission-plugins=ServiceAccount")
    if plan.audit_log:
        command += [f"--audit-log-path={plan.audit_log}", f"--audit-policy-file={plan.audit_policy}"]
        command += ["--audit-log-maxsize=10000"]  # MB; at 100 it would go on in another file
    return command


def kube_controller_manager(
    program: Path, identities: Identities, pod_cidr: str = "", secure_port: int = 0
) -> list[str]:
    """Without a pod network and a port it serves nothing and runs no controllers of nodes."""
    kubeconfig = identities.kubeconfig("system:kube-controller-manager")
    command = [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={secure_port}",
        f"--service-account-private-key-file={identities.signing_keys.key}",
        f"--root-ca-file={identities.authority.certificate}",
        f"--cluster-signing-cert-file={identities.authority.certificate}",
        f"--cluster-signing-key-file={identities.authority.key}",
        "--use-service-account-credentials=true",
        # the only one there is
        "--leader-elect=false",
        "--profiling=false",
        "--v=1",
        f"--cluster-cidr={pod_cidr}" if pod_cidr else "--controllers=*,-nodeipam,-nodelifecycle",
    ]
    if pod_cidr:
        command += [
            "--allocate-node-cidrs=true",
            # see a new metric soon: tests wait for autoscalers
            "--horizontal-pod-autoscaler-sync-period=5s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=30s",
        ]
    return command


def kube_scheduler(program: Path, identities: Identities) -> list[str]:
    kubeconfig = identities.kubeconfig("system:kube-scheduler")
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--profiling=false",
        "--v=1",
    ]
