"""Texts as the API server accepts them: names, labels, keys and paths.

Source: k8s.io/apimachinery/pkg/util/validation and k8s.io/apimachinery/pkg/api/validate/content.
"""

from __future__ import annotations

import re

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_LABEL_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", re.ASCII)
_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_KEY = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)
_HEADER = re.compile(r"[-A-Za-z0-9]+", re.ASCII)

LABEL_NAME = "must be a label's key, such as example.com/team"
LABEL_VALUE = "must be a label's value: at most 63 letters, digits, '-', '_' and '.'"
SUBDOMAIN = "must be a name of lower-case letters, digits, '-' and '.'"


def is_dns_label(text: str) -> bool:
    """Whether it is a DNS label, for example the name of a volume."""
    return len(text) <= 63 and _DNS_LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """Whether it is a DNS subdomain, for example the name of a service account."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def is_label_name(text: str) -> bool:
    """Whether it is the key of a label or an annotation."""
    prefix, slash, name = text.rpartition("/")
    if slash and not is_subdomain(prefix):
        return False
    return len(name) <= 63 and _LABEL_PART.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    """Whether it is the value of a label."""
    return not text or (len(text) <= 63 and _LABEL_PART.fullmatch(text) is not None)


def is_port_name(text: str) -> bool:
    """Whether it is the name of a port."""
    return len(text) <= 15 and _PORT_NAME.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Whether it is a key of a Secret or a ConfigMap."""
    return len(text) <= 253 and _KEY.fullmatch(text) is not None and text != "." and not text.startswith("..")


def is_variable(text: str) -> bool:
    """Whether it is the name of an environment variable."""
    return bool(text) and all(" " <= letter <= "~" and letter != "=" for letter in text)


def is_header(text: str) -> bool:
    """Whether it is the name of an HTTP header."""
    return _HEADER.fullmatch(text) is not None


def is_relative(path: str) -> bool:
    """Whether the path is relative and has no part ``..``."""
    return not path.startswith("/") and ".." not in path.split("/")


def is_file_in_volume(path: str) -> bool:
    """Whether it is the path of a file that a volume may hold: relative, and not beginning with ``..``."""
    return is_relative(path) and not path.startswith("..")


def is_path_segment(text: str) -> bool:
    """Whether it is a text that may be a part of a URL, for example the name of a metric."""
    return text not in ("", ".", "..") and not any(sign in text for sign in "/%")
