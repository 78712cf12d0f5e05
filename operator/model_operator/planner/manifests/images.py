"""The images of a revision's pods."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.world import Defaults

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:{_HOST}(?::[0-9]{{1,5}})?/)?"
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[\w][\w.-]{0,127})?"
    r"(?:@[a-zA-Z][a-zA-Z0-9+._-]{0,31}:[a-fA-F0-9]{32,128})?",
    re.ASCII,
)
_LONGEST = 512
_QUOTED = 120


@dataclass(frozen=True, slots=True)
class ImageProblem:
    """The reason why an image can't be used. ``reason`` is for a condition, ``message`` includes the remedy."""

    reason: str
    message: str


def resolve_images(
    spec: ModelDeploymentSpec, defaults: Defaults, tags: Mapping[str, str]
) -> dict[str, str] | ImageProblem:
    """The images by container, ``server`` and ``fetch``, or the first problem.

    ``tags`` are the model version's tags: untrusted text that anybody with access to the registry can write.
    """
    server = _server_image(spec, defaults, tags)
    if isinstance(server, ImageProblem):
        return server
    fetch = spec.fetch.image or defaults.fetch_image or defaults.server_image
    if not _well_formed(fetch):
        where = "spec.fetch.image" if spec.fetch.image else "images.fetch of the operator's configuration"
        return _malformed(where, fetch)
    return {"server": server, "fetch": fetch}


def _server_image(
    spec: ModelDeploymentSpec, defaults: Defaults, tags: Mapping[str, str]
) -> str | ImageProblem:
    by_tag = spec.server.image_from
    if spec.server.image or by_tag is None:
        image = spec.server.image or defaults.server_image
        where = "spec.server.image" if spec.server.image else "images.server of the operator's configuration"
        return image if _well_formed(image) else _malformed(where, image)
    tagged = tags.get(by_tag.tag, "").strip()
    if not tagged:
        return ImageProblem(
            "ImageTagMissing",
            f"the model version has no tag {_quote(by_tag.tag)}, which spec.server.imageFrom.tag names. "
            "Set the tag to an image reference or use spec.server.image",
        )
    if not _well_formed(tagged):
        return _malformed(f"the model version's tag {_quote(by_tag.tag)}", tagged)
    if not is_allowed(tagged, by_tag.allowed_prefixes):
        return ImageProblem(
            "ImageNotAllowed",
            f"the model version's tag {_quote(by_tag.tag)} is {_quote(tagged)}, "
            "which begins with none of spec.server.imageFrom.allowedPrefixes",
        )
    return tagged


def is_allowed(image: str, prefixes: Sequence[str]) -> bool:
    """Whether the image starts with one of the prefixes and the prefix ends at the end of a name.

    ``reg.example.com`` allows neither ``reg.example.com.evil/x`` nor another server at ``reg.example.com:5000/x``.
    ``reg.example.com/team`` does not allow ``reg.example.com/team-b/x``.
    """
    return any(_begins_with(image, prefix) for prefix in prefixes if prefix)


def _begins_with(image: str, prefix: str) -> bool:
    if not image.startswith(prefix):
        return False
    rest = image[len(prefix) :]
    boundary = prefix[-1] if prefix[-1] in "/:@" else rest[:1]
    if boundary in ("", "/"):
        return True
    # a tag or a digest has no slash. A rest with a slash after a colon starts with a port, so it is another server
    return boundary in ":@" and "/" not in rest


def _well_formed(image: str) -> bool:
    return len(image) <= _LONGEST and _REFERENCE.fullmatch(image) is not None


def _malformed(where: str, image: str) -> ImageProblem:
    return ImageProblem("ImageMalformed", f"{where} is not an image reference: {_quote(image)}")


def _quote(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else text[:_QUOTED] + "...")
