"""Who asks a cloud: requests signed for AWS, and access tokens of Google's.

The client signs, not LiteLLM: what signs sees the request as it is sent, needs nothing but the
configuration, and everything it fetches itself goes through the same client and its rules.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from typing_extensions import override

from ..base import ProviderConfig
from ..errors import AuthenticationError, ProviderConfigError, ProviderError
from ..errors import ProviderUnavailableError as UnavailableError
from ..secret import Secret, reveal
from .cloud import CloudName, google_account, require_aws
from .http_client import note_failure

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest

_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFE_SECONDS: Final = 3600
# A token is renewed so long before it ends.
_MARGIN_SECONDS: Final = 300
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_REFUSALS: Final = frozenset({400, 401, 403})


def open_auth(cloud: CloudName | None, config: ProviderConfig) -> httpx.Auth | None:
    """Return what signs a provider's requests; None where the key in a header is all there is.

    Blocking, for a thread: it imports botocore, or reads a private key.

    Args:
        cloud: The cloud that the catalogue's row names.
        config: The provider's configuration.

    Raises:
        ProviderConfigError: The configuration does not say who asks.
    """
    if cloud == "aws":
        require_aws(config)
        return AwsSignature(config) if config.api_key is None else None
    if cloud == "google":
        return GoogleToken(google_account(config), provider=config.name)
    return None


class AwsSignature(httpx.Auth):
    """Signs requests for Bedrock (Signature Version 4).

    Args:
        config: A configuration with the two parts of an access key.
    """

    requires_request_body = True

    def __init__(self, config: ProviderConfig) -> None:
        try:
            from botocore.auth import SigV4Auth  # noqa: PLC0415 -- slow, and only for AWS
            from botocore.awsrequest import AWSRequest  # noqa: PLC0415
            from botocore.credentials import Credentials  # noqa: PLC0415
        except ImportError:
            raise ProviderConfigError(
                "Bedrock's signatures need boto3: pip install 'amas-providers[bedrock]'",
                field="provider",
                provider=config.name,
            ) from None
        options = reveal(config.options)
        credentials = Credentials(
            options["aws_access_key_id"],
            options["aws_secret_access_key"],
            options.get("aws_session_token"),
        )
        self._request: type[AWSRequest] = AWSRequest
        self._signer = SigV4Auth(credentials, "bedrock", options["aws_region_name"])

    @override
    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put the signature into a request."""
        signed = self._request(
            method=request.method,
            url=str(request.url),
            data=request.content,
            headers={"Content-Type": request.headers.get("content-type", "application/json")},
        )
        self._signer.add_auth(signed)
        for name, value in signed.headers.items():
            request.headers[name] = value
        yield request


class GoogleToken(httpx.Auth):
    """Shows an access token, and fetches the next one when it ends.

    Args:
        account: The fields of the account's credentials file.
        provider: Name of the provider, for errors.
        clock: The time in seconds; only differences matter.
    """

    def __init__(
        self,
        account: Mapping[str, Any],
        *,
        provider: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._provider = provider
        self._clock = clock
        self._private_key = (
            _private_key(account, provider) if account["type"] == "service_account" else None
        )
        self._token: Secret | None = None
        self._ends = 0.0
        self._lock = asyncio.Lock()

    @override
    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Put the token into a request, which is sent after the request for a token if need be."""
        async with self._lock:
            if self._token is None or self._clock() >= self._ends:
                began = self._clock()
                answer = yield self._token_request()
                await answer.aread()
                self._keep(answer, began)
            assert self._token is not None
            token = self._token
        request.headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        response = yield request
        if response.status_code == _UNAUTHORIZED and self._token is token:
            self._token = None  # revoked before its time

    def _token_request(self) -> httpx.Request:
        if self._private_key is None:
            form = {
                "grant_type": "refresh_token",
                **{
                    name: self._account[name]
                    for name in ("client_id", "client_secret", "refresh_token")
                },
            }
        else:
            form = {"grant_type": _GRANT, "assertion": self._assertion(self._private_key)}
        return httpx.Request("POST", self._account["token_uri"], data=form)

    def _assertion(self, key: rsa.RSAPrivateKey) -> str:
        """Return a signed statement of who asks: a JSON Web Token (RFC 7523)."""
        now = int(time.time())
        head = {"alg": "RS256", "typ": "JWT", "kid": self._account.get("private_key_id")}
        claims = {
            "iss": self._account["client_email"],
            "scope": _SCOPE,
            "aud": self._account["token_uri"],
            "iat": now,
            "exp": now + _LIFE_SECONDS,
        }
        told = b".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        signature = key.sign(told, padding.PKCS1v15(), hashes.SHA256())
        return (told + b"." + _base64(signature)).decode()

    def _keep(self, answer: httpx.Response, began: float) -> None:
        """Keep the token of an answer.

        Raises:
            ProviderError: There is none in it.
        """
        body = _json_object(answer)
        token, life = body.get("access_token"), body.get("expires_in", _LIFE_SECONDS)
        if answer.status_code == _OK and isinstance(token, str) and isinstance(life, int | float):
            self._token = Secret(token)
            self._ends = began + max(life - _MARGIN_SECONDS, life / 2)
            return
        status = answer.status_code
        told = body.get("error_description") or body.get("error") or "no token in the answer"
        if status in _REFUSALS:
            self._fail(
                AuthenticationError(
                    f"the account of vertex_credentials is refused (HTTP {status}): {told}",
                    status_code=status,
                )
            )
        self._fail(UnavailableError(f"no access token: HTTP {status}: {told}", status_code=status))

    def _fail(self, error: ProviderError) -> NoReturn:
        """Raise an error, and leave word of it: LiteLLM makes another of what it sees raised."""
        error.provider = self._provider
        note_failure(error)
        raise error


def _private_key(account: Mapping[str, Any], provider: str) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(account["private_key"].encode(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, rsa.RSAPrivateKey):
        return key
    raise ProviderConfigError(
        "the private_key of options.vertex_credentials cannot be read; download the key file again",
        field="options.vertex_credentials",
        provider=provider,
    )


def _json_object(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
