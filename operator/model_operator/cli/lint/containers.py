"""The fields of a container: variables, mounts, probes and the security context.

Source: ValidateEnv, ValidateEnvFrom, ValidateVolumeMounts, validateProbe and ValidateSecurityContext of Kubernetes'
pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from model_operator.cli.lint import texts
from model_operator.cli.lint.documents import Path
from model_operator.cli.lint.structure import FieldProblem
from model_operator.planner.manifests import parse_quantity

_Object = Mapping[str, Any]

_POD_FIELDS = frozenset(
    {"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName"}
    | {"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs", "spec.host"}
)
_RESOURCES = frozenset(
    f"{part}.{name}" for part in ("requests", "limits") for name in ("cpu", "memory", "ephemeral-storage")
)
_SUBSCRIPT = re.compile(r"metadata\.(annotations|labels)\['(?P<key>.*)'\]")
_CPU_DIVISORS = tuple(parse_quantity(text) for text in ("1m", "1"))
_BYTE_DIVISORS = tuple(
    parse_quantity(f"1{suffix}") for suffix in ("", *"kMGTPE", *(f"{letter}i" for letter in "KMGTPE"))
)
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_GREATEST_ID = 2**31 - 1
_GREATEST_PORT = 65535


def variable_problems(variables: Sequence[_Object], path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of ``env``, whose structure is valid."""
    for index, variable in enumerate(variables):
        here = (*path, index)
        if not texts.is_variable(variable.get("name") or ""):
            yield FieldProblem((*here, "name"), "must be printable ASCII without '='")
        source = variable.get("valueFrom")
        if source is None:
            continue
        given = [name for name, value in source.items() if value is not None]
        if variable.get("value"):
            yield FieldProblem((*here, "valueFrom"), "cannot be used together with value: remove one")
        if len(given) != 1:
            yield FieldProblem((*here, "valueFrom"), "must have exactly one source")
        yield from _source_problems(source, (*here, "valueFrom"))


def _source_problems(source: _Object, path: Path) -> Iterator[FieldProblem]:
    for kind in ("secretKeyRef", "configMapKeyRef"):
        if (reference := source.get(kind)) is not None:
            if not texts.is_subdomain(reference.get("name") or ""):
                yield FieldProblem((*path, kind, "name"), texts.SUBDOMAIN)
            if not texts.is_key(reference.get("key") or ""):
                yield FieldProblem((*path, kind, "key"), "must be a key: letters, digits, '-', '_' and '.'")
    if (reference := source.get("fieldRef")) is not None:
        yield from field_problems(reference, (*path, "fieldRef"), _POD_FIELDS)
    if (reference := source.get("resourceFieldRef")) is not None:
        yield from resource_field_problems(reference, (*path, "resourceFieldRef"))
    if (reference := source.get("fileKeyRef")) is not None:
        here = (*path, "fileKeyRef")
        if not texts.is_variable(reference.get("key") or ""):
            yield FieldProblem((*here, "key"), "must be printable ASCII without '='")
        if ".." in (reference.get("path") or "").split("/"):
            yield FieldProblem((*here, "path"), "must not contain '..'")


def field_problems(reference: _Object, path: Path, known: Collection[str]) -> Iterator[FieldProblem]:
    """Yields the problems of a ``fieldRef`` that may name one of the ``known`` fields, or one label or annotation."""
    if reference.get("apiVersion") not in (None, "", "v1"):
        yield FieldProblem((*path, "apiVersion"), "must be v1")
    name = reference.get("fieldPath") or ""
    subscript = _SUBSCRIPT.fullmatch(name)
    if subscript is None and name not in known:
        yield FieldProblem((*path, "fieldPath"), f"must be one of {', '.join(sorted(known))}")
    if subscript is not None and not texts.is_label_name(subscript["key"].lower()):
        yield FieldProblem((*path, "fieldPath"), "must name a valid key between [' and ']")


def resource_field_problems(reference: _Object, path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of a ``resourceFieldRef``, whose structure is valid."""
    name = reference.get("resource") or ""
    pages = name.startswith(("requests.hugepages-", "limits.hugepages-"))
    if name not in _RESOURCES and not pages:
        yield FieldProblem((*path, "resource"), f"must be one of {', '.join(sorted(_RESOURCES))}")
        return
    divisor = parse_quantity(reference.get("divisor"))
    allowed = _CPU_DIVISORS if name.endswith(".cpu") else _BYTE_DIVISORS
    if divisor and divisor not in allowed:
        units = "1m or 1" if name.endswith(".cpu") else "1, or 1 with a unit such as 1Mi"
        yield FieldProblem((*path, "divisor"), f"must be {units}")


def variables_from_problems(sources: Sequence[_Object], path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of ``envFrom``, whose structure is valid."""
    for index, source in enumerate(sources):
        here = (*path, index)
        if source.get("prefix") and not texts.is_variable(source["prefix"]):
            yield FieldProblem((*here, "prefix"), "must be printable ASCII without '='")
        given = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        if len(given) != 1:
            yield FieldProblem(here, "must have either configMapRef or secretRef")
        for kind in given:
            # unlike elsewhere, a name may end with a dash here, as for a generated one
            if not texts.is_subdomain((source[kind].get("name") or "").removesuffix("-")):
                yield FieldProblem((*here, kind, "name"), texts.SUBDOMAIN)


def mount_problems(
    mounts: Sequence[_Object], path: Path, volumes: Collection[str], privileged: bool
) -> Iterator[FieldProblem]:
    """Yields the problems of ``volumeMounts``, whose structure is valid. ``volumes`` are those of the pod."""
    for index, mount in enumerate(mounts):
        here = (*path, index)
        if (mount.get("name") or "") not in volumes:
            yield FieldProblem((*here, "name"), "names no volume of the pod: add it to spec.pod.volumes")
        for part in ("subPath", "subPathExpr"):
            if not texts.is_relative(mount.get(part) or ""):
                yield FieldProblem((*here, part), "must be a relative path without '..'")
        if mount.get("subPath") and mount.get("subPathExpr"):
            yield FieldProblem((*here, "subPathExpr"), "cannot be used together with subPath: remove one")
        propagation, recursive = mount.get("mountPropagation"), mount.get("recursiveReadOnly")
        if propagation == "":
            yield FieldProblem((*here, "mountPropagation"), "must not be empty: leave it out")
        if propagation == "Bidirectional" and not privileged:
            yield FieldProblem((*here, "mountPropagation"), "Bidirectional needs a privileged container")
        if recursive is None or recursive == "Disabled":
            continue
        if recursive not in ("Enabled", "IfPossible"):
            yield FieldProblem((*here, "recursiveReadOnly"), "must be one of Disabled, IfPossible, Enabled")
        elif not mount.get("readOnly"):
            yield FieldProblem((*here, "recursiveReadOnly"), "needs readOnly: true")
        elif propagation not in (None, "None"):
            yield FieldProblem((*here, "recursiveReadOnly"), "needs mountPropagation None")


def probe_problems(which: str, probe: _Object, path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of a probe as the pod will have it, whose structure is valid."""
    given = [name for name in _HANDLERS if probe.get(name) is not None]
    if len(given) != 1:
        yield FieldProblem(path, f"must have exactly one of {', '.join(_HANDLERS)}")
    for name in _COUNTS:
        if (probe.get(name) or 0) < 0:
            yield FieldProblem((*path, name), "must be greater than or equal to 0")
    if which != "readiness" and (probe.get("successThreshold") or 1) != 1:
        yield FieldProblem((*path, "successThreshold"), f"must be 1 for a {which} probe")
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and which == "readiness":
        yield FieldProblem((*path, "terminationGracePeriodSeconds"), "must be left out for a readiness probe")
    elif grace is not None and grace <= 0:
        yield FieldProblem((*path, "terminationGracePeriodSeconds"), "must be greater than 0")
    for name in given:
        yield from _handler_problems(name, probe[name], (*path, name))


def _handler_problems(name: str, handler: _Object, path: Path) -> Iterator[FieldProblem]:
    if name == "exec":
        if not handler.get("command"):
            yield FieldProblem((*path, "command"), "must have at least one entry")
        return
    port = handler.get("port")
    if isinstance(port, str) and not texts.is_port_name(port):
        yield FieldProblem((*path, "port"), "must be the name of a port, or a number without quotes")
    elif not isinstance(port, str) and not 1 <= (port or 0) <= _GREATEST_PORT:
        yield FieldProblem((*path, "port"), f"must be from 1 to {_GREATEST_PORT}")
    for index, header in enumerate(handler.get("httpHeaders") or ()):
        if not texts.is_header(header.get("name") or ""):
            yield FieldProblem((*path, "httpHeaders", index, "name"), "must be letters, digits and '-'")


def security_problems(context: _Object, path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of a security context as the pod or the container will have it."""
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from _id_problems(context.get(name), (*path, name))
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        yield from _id_problems(group or 0, (*path, "supplementalGroups", index))
    for name in ("seccompProfile", "appArmorProfile"):
        if (profile := context.get(name)) is not None:
            yield from _profile_problems(profile, (*path, name))
    yield from _sysctl_problems(context.get("sysctls") or (), (*path, "sysctls"))
    if context.get("procMount") not in (None, "Default"):
        yield FieldProblem((*path, "procMount"), "must be Default: Unmasked needs hostUsers: false")
    for name in ("fsGroupChangePolicy", "supplementalGroupsPolicy"):
        if context.get(name) == "":
            yield FieldProblem((*path, name), "must not be empty: leave it out")
    if context.get("seLinuxChangePolicy") not in (None, "Recursive", "MountOption"):
        yield FieldProblem((*path, "seLinuxChangePolicy"), "must be Recursive or MountOption")
    if context.get("allowPrivilegeEscalation") is False:
        added = (context.get("capabilities") or {}).get("add") or ()
        if context.get("privileged"):
            yield FieldProblem((*path, "privileged"), "needs allowPrivilegeEscalation: true")
        if "CAP_SYS_ADMIN" in added:
            yield FieldProblem(
                (*path, "capabilities", "add"), "CAP_SYS_ADMIN needs allowPrivilegeEscalation: true"
            )


def _id_problems(number: Any, path: Path) -> Iterator[FieldProblem]:
    if number is not None and not 0 <= number <= _GREATEST_ID:
        yield FieldProblem(path, f"must be from 0 to {_GREATEST_ID}")


def _profile_problems(profile: _Object, path: Path) -> Iterator[FieldProblem]:
    local = profile.get("localhostProfile")
    if profile.get("type") != "Localhost":
        if local is not None:
            yield FieldProblem((*path, "localhostProfile"), "needs type Localhost")
    elif local is None or (path[-1] == "appArmorProfile" and not local):
        yield FieldProblem((*path, "localhostProfile"), "is missing: type Localhost needs it")
    elif path[-1] == "appArmorProfile" and local.strip() != local:
        yield FieldProblem((*path, "localhostProfile"), "must not begin or end with a space")
    elif path[-1] == "seccompProfile" and not texts.is_relative(local):
        yield FieldProblem((*path, "localhostProfile"), "must be a relative path without '..'")


_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?", re.ASCII)
_LONGEST_SYSCTL = 253


def _sysctl_problems(sysctls: Sequence[_Object], path: Path) -> Iterator[FieldProblem]:
    seen: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        name = sysctl.get("name") or ""
        if len(name) > _LONGEST_SYSCTL or not _SYSCTL.fullmatch(name):
            yield FieldProblem(
                (*path, index, "name"), "must be the name of a sysctl, such as net.core.somaxconn"
            )
        if name in seen:
            yield FieldProblem((*path, index, "name"), "is in the list twice: remove one")
        seen.add(name)
