"""Clouds that want more than a key: which options they need, and which address follows from these. Pure.

LiteLLM looks for the identity of a cloud wherever its SDKs do: in variables, ``~/.aws``, gcloud's
folder, the machine's metadata service. Here the configuration alone decides who asks, so an option
that would look elsewhere is refused, and the credentials never reach LiteLLM: the client's own
``auth`` (`cloud_auth.py`) signs its requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..base import ProviderConfig
from ..errors import ProviderConfigError
from ..secret import reveal

CloudName = Literal["aws", "azure", "google"]

GOOGLE_TOKEN_URL: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 -- an address
_VERSION: Final = re.compile(r"[0-9A-Za-z-]{1,40}")
_PLACE: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_PROJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_ADDRESS: Final = re.compile(r"https?://[\w.-]+(:\d{1,5})?/[\w./-]*")
_LONGEST_TEXT: Final = 64 * 1024

# The fields without which a credentials file is of no use, by its type.
_GOOGLE_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "service_account": ("client_email", "private_key"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
}


@dataclass(frozen=True, slots=True)
class Cloud:
    """What a cloud needs beside a model.

    Args:
        places: Options that its address is made of, with the form and an example of each.
        credentials: Options that say who asks, and that LiteLLM is not shown.
        refused: Beginnings of the names of options that would take an identity, or an
            address, from elsewhere.
        instead: What to write instead of those.
        address: Returns the address, from the options; None if it has to be configured.
        hosts: Hosts that requests go to beside that.
    """

    places: Mapping[str, tuple[re.Pattern[str], str]]
    credentials: frozenset[str]
    refused: tuple[str, ...]
    instead: str
    address: Callable[[Mapping[str, str]], str] | None = None
    hosts: tuple[str, ...] = ()


def _bedrock(options: Mapping[str, str]) -> str:
    return f"https://bedrock-runtime.{options['aws_region_name']}.amazonaws.com"


def _vertex(options: Mapping[str, str]) -> str:
    location = options["vertex_location"]
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if "-" not in location:  # several regions at once: us, eu
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


CLOUDS: Final[Mapping[CloudName, Cloud]] = {
    "aws": Cloud(
        places={"aws_region_name": (_PLACE, "us-east-1")},
        credentials=frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}),
        refused=("aws_",),
        instead="give aws_access_key_id and aws_secret_access_key (with aws_session_token, if they"
        " are temporary), or a Bedrock API key as api_key; an endpoint goes into base_url",
        address=_bedrock,
    ),
    "azure": Cloud(
        places={"api_version": (_VERSION, '"2024-10-21"')},
        credentials=frozenset(),
        refused=("azure_", "tenant_id", "client_id", "client_secret"),
        instead="the key goes into api_key; with an access token of Entra ID for a key, use the"
        " v1 address: leave api_version out",
    ),
    "google": Cloud(
        places={
            "vertex_project": (_PROJECT, "my-project"),
            "vertex_location": (_PLACE, "global"),
        },
        credentials=frozenset({"vertex_credentials"}),
        refused=("vertex_", "use_psc_endpoint_format"),
        instead="give vertex_project, vertex_location and vertex_credentials; an endpoint goes"
        " into base_url",
        address=_vertex,
        hosts=("oauth2.googleapis.com",),
    ),
}


def check_cloud(name: CloudName, config: ProviderConfig) -> str | None:
    """Check the options that a cloud needs, and return its address.

    That there are credentials at all is checked when a provider starts, as with keys.

    Args:
        name: The cloud.
        config: A provider's configuration.

    Returns:
        The address that follows from the options, if one does.

    Raises:
        ProviderConfigError: One is missing or wrong; ``field`` says which.
    """
    cloud = CLOUDS[name]
    options = reveal(config.options)
    known = cloud.places.keys() | cloud.credentials
    for option in sorted(options.keys() - known):
        if option.startswith(cloud.refused):
            raise _wrong(
                config, option, "would take an identity or an address from elsewhere", cloud.instead
            )
    for option, (form, example) in cloud.places.items():
        value = options.get(option)
        if not isinstance(value, str) or not form.fullmatch(value):
            what = "is missing" if value is None else "is malformed"
            raise _wrong(config, option, what, f"write for example {option}: {example}")
    _check_credentials(name, config)
    return cloud.address(options) if cloud.address else None


def _check_credentials(name: CloudName, config: ProviderConfig) -> None:
    """Check the credentials that are there: whether they are whole, and no two kinds at once."""
    given = CLOUDS[name].credentials & config.options.keys()
    for option in sorted(given):
        value = reveal(config.options[option])
        if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_TEXT:
            raise _wrong(config, option, "must be a text that is not empty", "use ${VAR} or file:")
    if given and name == "aws":
        require_aws(config)
    if given and name == "google":
        google_account(config)


def require_aws(config: ProviderConfig) -> None:
    """Refuse a configuration that does not say who asks AWS.

    Raises:
        ProviderConfigError: Nothing says it, or only in part, or two ways at once.
    """
    given = CLOUDS["aws"].credentials & config.options.keys()
    pair = {"aws_access_key_id", "aws_secret_access_key"}
    if given and config.api_key is not None:
        raise ProviderConfigError(
            "api_key (a Bedrock API key) and aws_… credentials exclude each other; keep one",
            field="api_key",
            provider=config.name,
        )
    if given and not pair <= given:
        missing = min(pair - given)
        raise _wrong(
            config, missing, "is missing", "an access key has two parts; give both, or neither"
        )
    if not given and config.api_key is None:
        raise ProviderConfigError(
            'no credentials: set api_key: "${AWS_BEARER_TOKEN_BEDROCK}" (a Bedrock API key, get one'
            " at https://console.aws.amazon.com/bedrock), or options aws_access_key_id and"
            " aws_secret_access_key; none are taken from variables, ~/.aws or the machine",
            field="api_key",
            provider=config.name,
        )


def google_account(config: ProviderConfig) -> Mapping[str, Any]:
    """Read the credentials file of a Google account.

    Args:
        config: A provider's configuration, whose ``vertex_credentials`` has the file's content.

    Returns:
        Its fields: ``type``, ``token_uri`` and what that type of account has.

    Raises:
        ProviderConfigError: There is none, or it is none that says by itself who asks; the
            message has nothing of its content.
    """
    if config.api_key is not None:
        raise ProviderConfigError(
            "Vertex AI takes no api_key; remove it, and give options.vertex_credentials",
            field="api_key",
            provider=config.name,
        )
    text = reveal(config.options).get("vertex_credentials")
    field = "vertex_credentials"
    advice = f"write {field}: file:/path/to/service-account.json"
    if text is None:
        raise _wrong(
            config,
            field,
            "is missing",
            f"{advice}; no credentials are taken from variables, gcloud or the machine",
        )
    try:
        account = json.loads(text)
    except (ValueError, RecursionError):
        account = None
    if not isinstance(account, dict):
        raise _wrong(config, field, "is no JSON of a Google account", advice)
    wanted = _GOOGLE_KINDS.get(str(account.get("type")))
    if wanted is None:
        raise _wrong(
            config,
            field,
            "is of a type that takes its identity from elsewhere, or of none",
            f"use the key file of a service account; types are {', '.join(_GOOGLE_KINDS)}",
        )
    lacking = [name for name in wanted if not _is_filled(account.get(name))]
    if lacking:
        raise _wrong(config, field, f"lacks {', '.join(lacking)}", "download the key file again")
    account = {"token_uri": GOOGLE_TOKEN_URL, **account}
    if not _ADDRESS.fullmatch(str(account["token_uri"])):
        raise _wrong(
            config, field, "has a token_uri that is no address", "download the key file again"
        )
    return account


def _is_filled(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _wrong(config: ProviderConfig, option: str, what: str, advice: str) -> ProviderConfigError:
    return ProviderConfigError(
        f"options.{option} {what}; {advice}", field=f"options.{option}", provider=config.name
    )
