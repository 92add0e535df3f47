"""Azure, Bedrock and Vertex AI: who asks, where, and what their errors mean."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from amas.providers import (
    AuthenticationError,
    ContentPolicyError,
    ContextWindowExceededError,
    InvalidRequestError,
    LiteLLMProvider,
    ModelNotFoundError,
    ProviderConfig,
    ProviderConfigError,
    ProviderConnectionError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitError,
    StreamInterruptedError,
)
from amas.providers.llm.cloud_auth import GoogleToken
from amas.providers.llm.http_client import Wire, on_wire
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.testing.upstream import RecordedRequest, Upstream

KEY = "our" + "-key" * 5
KEY_ID = "AK" + "ID" * 8
SECRET = "not" + "-for-you" * 4
SESSION = "for" + "-an-hour" * 4
AWS = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
REGION = {"aws_region_name": "us-east-1"}
PLACE = {"vertex_project": "ours", "vertex_location": "us-east5"}

pytestmark = pytest.mark.usefixtures("no_blocking")


@pytest.fixture
async def up(no_blocking: BlockBuster) -> AsyncIterator[Upstream]:
    """Run an upstream."""
    async with Upstream("ours") as upstream:
        yield upstream


@cache
def google_key() -> rsa.RSAPrivateKey:
    """Make a Google account's private key; slow, so once."""
    return rsa.generate_private_key(65537, 1024)


def account(token_uri: str | None = None, **changes: Any) -> str:
    """Write the credentials file of a service account."""
    pem = google_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    fields = {
        "type": "service_account",
        "client_email": "robot@example.com",
        "private_key": pem.decode(),
        "token_uri": token_uri,
    }
    return json.dumps({name: value for name, value in {**fields, **changes}.items() if value})


def azure(url: str | None, **changes: Any) -> ProviderConfig:
    """Configure a deployment of Azure's."""
    options = {"api_version": "2024-10-21"}
    given: dict[str, Any] = {"model": "mine", "api_key": KEY, "options": options, "timeout": 5}
    return ProviderConfig("azure", base_url=url, **{**given, **changes})


def bedrock(url: str | None, **changes: Any) -> ProviderConfig:
    """Configure Bedrock."""
    return ProviderConfig(
        "bedrock", base_url=url, **{"options": {**REGION, **AWS}, "timeout": 5, **changes}
    )


def vertex(url: str | None, **changes: Any) -> ProviderConfig:
    """Configure Vertex AI."""
    options = {**PLACE, "vertex_credentials": account(f"{url}/token" if url else None)}
    return ProviderConfig(
        "vertex_ai", base_url=url, **{"options": options, "timeout": 5, **changes}
    )


CLOUDS = {"azure": azure, "bedrock": bedrock, "vertex": vertex}


async def failure(config: ProviderConfig, *, stream: bool) -> ProviderError:
    """Ask once, and return what is raised."""
    provider = LiteLLMProvider(config)
    try:
        with pytest.raises(ProviderError) as caught:
            await (_collected(provider) if stream else provider.generate("hello"))
    finally:
        await provider.shutdown()
    return caught.value


async def _collected(provider: LiteLLMProvider) -> list[str]:
    return [chunk.content async for chunk in provider.stream("hello")]


@pytest.mark.usefixtures("uncovered")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("cloud", "fault", "kind", "says"),
    [
        ("bedrock", {"code": "rate_limit_exceeded"}, RateLimitError, "429: Too many requests"),
        ("bedrock", {"code": "permission_denied"}, AuthenticationError, "403: You don't have access"),
        ("bedrock", {"code": "expired_token"}, AuthenticationError, "403: The security token .*expired"),
        ("bedrock", {"code": "invalid_api_key"}, AuthenticationError, "403: The security token"),
        ("bedrock", {"code": "invalid_request"}, InvalidRequestError, "400: The model returned"),
        ("bedrock", {"code": "context_length_exceeded"}, ContextWindowExceededError, "too long"),
        ("bedrock", {"code": "model_not_found"}, ModelNotFoundError, "404: The provided model"),
        ("bedrock", {"status": 424, "message": "broken"}, ProviderUnavailableError, "424: broken"),
        ("azure", {"code": "content_filter"}, ContentPolicyError, "400: .*content management"),
        ("azure", {"code": "model_not_found"}, ModelNotFoundError, "404: The API deployment"),
        ("azure", {"code": "rate_limit_exceeded", "retry_after": 20}, RateLimitError, "429: "),
        ("azure", {"code": "invalid_api_key"}, AuthenticationError, "401: Access denied"),
        ("vertex", {"code": "rate_limit_exceeded"}, RateLimitError, "Resource exhausted"),
        ("vertex", {"code": "permission_denied"}, AuthenticationError, "403: The caller"),
        ("vertex", {"code": "invalid_api_key"}, AuthenticationError, "401: Request had invalid"),
        ("vertex", {"code": "context_length_exceeded"}, ContextWindowExceededError, "token count"),
    ],
)  # fmt: skip
async def test_error_means_what_the_cloud_says(
    up: Upstream, *, cloud: str, fault: dict[str, Any], kind: type[ProviderError], says: str, stream: bool
) -> None:  # fmt: skip
    """Each cloud's own error becomes the error of ours that tells what to do, streamed or not."""
    up.fault(**fault)
    error = await failure(CLOUDS[cloud](up.url), stream=stream)
    assert type(error) is kind
    assert error.retry_after == fault.get("retry_after")
    with pytest.raises(kind, match=says):
        raise error


@pytest.mark.parametrize("cloud", CLOUDS)
async def test_error_within_a_stream(cloud: str, up: Upstream) -> None:
    """An error after content interrupts the stream and keeps what has come, frames of bytes too."""
    up.fault(code="rate_limit_exceeded", stream_error_after=2)
    error = await failure(CLOUDS[cloud](up.url), stream=True)
    assert isinstance(error, StreamInterruptedError)
    assert error.partial_text == "ours says: "


@pytest.mark.parametrize("cloud", CLOUDS)
async def test_clocks_hold_and_who_leaves_ends_the_work(cloud: str, up: Upstream) -> None:
    """A silent upstream is given up in time, and a stream that is left is ended at the upstream."""
    up.fault(hang=True)
    error = await failure(CLOUDS[cloud](up.url, timeout=0.3, health_probe="off"), stream=False)
    assert isinstance(error, ProviderTimeoutError)
    up.clear()
    up.fault(stall_after=1)
    provider = LiteLLMProvider(CLOUDS[cloud](up.url))
    stream = provider.stream("hello")
    assert (await anext(stream)).content == "ours "
    await stream.aclose()  # type: ignore[attr-defined]
    await up.wait_for(lambda request: request.aborted)
    await provider.shutdown()


async def test_stream_of_frames_keeps_line_separators(up: Upstream) -> None:
    """Frames carry checksums: nothing in them is replaced on the way, as it is in lines of text."""
    up.reply = "one\u2028two \u2029three\u0085 four"
    provider = LiteLLMProvider(bedrock(up.url))
    pieces = await _collected(provider)
    await provider.shutdown()
    assert "".join(pieces) == up.reply


# --- who asks AWS -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "session", [{}, {"aws_session_token": SESSION}], ids=["lasting", "temporary"]
)
async def test_request_is_signed_as_botocore_signs_it(
    up: Upstream, session: dict[str, str]
) -> None:
    """The signature is right for the very request that arrives, and the secret is nowhere in it."""
    model = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    provider = LiteLLMProvider(bedrock(up.url, model=model, options={**REGION, **AWS, **session}))
    await provider.generate("grüß dich")
    await provider.shutdown()
    [request] = up.requests
    assert request.model == model
    assert request.headers["authorization"] == _signature(up, request, session)
    assert request.headers.get("x-amz-security-token") == session.get("aws_session_token")
    assert SECRET not in f"{dict(request.headers)} {request.body.decode()}"


def _signature(up: Upstream, request: RecordedRequest, session: dict[str, str]) -> str:
    """Sign a request that has arrived, at the time it says."""
    names = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    headers = {name: request.headers[name] for name in names.split(";")}
    path = request.path.replace(":", "%3A").replace("profile/", "profile%2F")
    again = AWSRequest(method="POST", url=up.url + path, data=request.body, headers=headers)
    again.context["timestamp"] = request.headers["x-amz-date"]
    credentials = Credentials(KEY_ID, SECRET, session.get("aws_session_token"))
    signer = SigV4Auth(credentials, "bedrock", "us-east-1")
    told: str = signer.signature(
        signer.string_to_sign(again, signer.canonical_request(again)), again
    )
    return request.headers["authorization"].partition("Signature=")[0] + f"Signature={told}"


async def test_litellm_finds_no_identity_by_itself() -> None:
    """While a call of ours is under way, LiteLLM gets no credentials of the machine's, nor tokens."""
    await asyncio.to_thread(load_runtime)
    from litellm.llms.bedrock.base_aws_llm import BaseAWSLLM
    from litellm.llms.vertex_ai.vertex_llm_base import VertexBase

    with on_wire(Wire()):
        with pytest.raises(InvalidRequestError, match="only `provider: bedrock`"):
            BaseAWSLLM().get_credentials()
        assert VertexBase().get_access_token(None, "p") == ("none", "p")
        assert await VertexBase().get_access_token_async(None, "p") == ("none", "p")


async def test_client_for_azure_stays_ours(up: Upstream) -> None:
    """LiteLLM's global cache, from which the host's own calls are served, gets no client of ours."""
    provider = LiteLLMProvider(azure(up.url))
    await provider.generate("hello")
    cached = list(load_runtime().litellm.in_memory_llm_clients_cache.cache_dict.values())
    assert not [
        client for client in cached if getattr(client, "_client", 0) is provider._connections.http
    ]
    await provider.shutdown()


# --- who asks Google --------------------------------------------------------------------------------------------------


async def test_many_calls_share_one_token(up: Upstream) -> None:
    """Calls at the same time wait for one token; it is asked for with a statement of the account's."""
    provider = LiteLLMProvider(vertex(up.url, health_probe="off"))
    answers = await asyncio.gather(*(provider.generate("hello") for _ in range(5)))
    await provider.shutdown()
    assert {answer["content"] for answer in answers} == {"ours says: hello"}
    tokens = [request for request in up.requests if request.endpoint == "token"]
    assert len(tokens) == 1
    form = httpx.QueryParams(tokens[0].body.decode())
    head, claims, signature = form["assertion"].split(".")
    google_key().public_key().verify(
        _unbase64(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    told = json.loads(_unbase64(claims))
    assert (told["iss"], told["aud"]) == ("robot@example.com", f"{up.url}/token")
    assert told["exp"] - told["iat"] == 3600


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_token_of_a_login(up: Upstream) -> None:
    """A file that gcloud wrote for a user gives tokens for its refresh token."""
    login = {"client_id": "id", "client_secret": SECRET, "refresh_token": SESSION}
    file = json.dumps({"type": "authorized_user", "token_uri": f"{up.url}/token", **login})
    provider = LiteLLMProvider(vertex(up.url, options={**PLACE, "vertex_credentials": file}))
    assert (await provider.generate("hello"))["content"] == "ours says: hello"
    await provider.shutdown()
    form = httpx.QueryParams(up.requests[0].body.decode())
    assert dict(form) == {"grant_type": "refresh_token", **login}


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ({"status": 400}, AuthenticationError, "account of vertex_credentials is refused"),
        ({"status": 503}, ProviderUnavailableError, "no access token: HTTP 503"),
        ({"malformed": True}, ProviderUnavailableError, "no token in the answer"),
        ({"reset": True}, ProviderConnectionError, "connection failed"),
        ({"hang": True}, ProviderTimeoutError, "within 0.2 s"),
        ({"redirect": "http://127.0.0.1:1"}, ProviderUnavailableError, "no access token: HTTP 307"),
    ],
)
async def test_trouble_with_the_token(
    up: Upstream, fault: dict[str, Any], kind: type[ProviderError], says: str
) -> None:
    """Without a token nothing is asked, and the error says that it is the token that is missing."""
    up.fault(on="token", times=None, **fault)
    config = vertex(up.url, timeout=0.2 if "hang" in fault else 5, health_probe="off")
    for stream in (False, True):
        error = await failure(config, stream=stream)
        assert type(error) is kind
        assert says in str(error)
    assert {request.endpoint for request in up.requests} == {"token"}


async def test_cancelled_call_leaves_the_way_free(up: Upstream) -> None:
    """Who gives up while a token is fetched holds up nobody: the next call fetches one."""
    up.fault(on="token", hang=True)
    provider = LiteLLMProvider(vertex(up.url, health_probe="off"))
    call = asyncio.create_task(provider.generate("hello"))
    await up.wait_for(lambda request: request.endpoint == "token")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await provider.generate("hello"))["content"] == "ours says: hello"
    await provider.shutdown()


async def test_token_endpoint_elsewhere_is_refused(up: Upstream) -> None:
    """A credentials file sends nothing to a host that neither Google nor the configuration names."""
    options = {**PLACE, "vertex_credentials": account("https://elsewhere.example.com/token")}
    error = await failure(vertex(up.url, options=options, health_probe="off"), stream=False)
    assert isinstance(error, ProviderConfigError)
    assert "elsewhere.example.com" in str(error)
    assert "allowed_hosts" in str(error)
    assert up.requests == []


async def test_token_is_renewed_before_it_ends_and_after_it_was_refused() -> None:
    """A token serves until five minutes before its end, or until the API refuses it."""
    time, fetched, status = 0.0, 0, 200

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal fetched
        if request.url.path == "/token":
            fetched += 1
            body = {"access_token": f"token-{fetched}", "expires_in": 3600}
            return httpx.Response(200, json=body)
        return httpx.Response(status, text=request.headers["authorization"])

    fields = json.loads(account("https://oauth2.example.com/token"))
    token = GoogleToken(fields, provider="vertex_ai", clock=lambda: time)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), auth=token) as http:
        seen = []
        for time, status in ((0, 200), (3299, 200), (3300, 401), (3301, 200)):  # noqa: B007
            seen.append((await http.get("https://api.example.com/x")).text)
    assert seen == ["Bearer token-1", "Bearer token-1", "Bearer token-2", "Bearer token-3"]


# --- what a configuration has to say ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "address", "hosts"),
    [
        (bedrock(None), "https://bedrock-runtime.us-east-1.amazonaws.com", set()),
        (bedrock("https://vpce-1.example.com/"), "https://vpce-1.example.com", set()),
        (vertex(None), "https://us-east5-aiplatform.googleapis.com", {"oauth2.googleapis.com"}),
        (
            vertex(None, options={**PLACE, "vertex_location": "global"}),
            "https://aiplatform.googleapis.com",
            {"oauth2.googleapis.com"},
        ),
        (
            vertex(None, options={**PLACE, "vertex_location": "eu"}),
            "https://aiplatform.eu.rep.googleapis.com",
            {"oauth2.googleapis.com"},
        ),
        (azure("https://mine.openai.azure.com/openai/v1/"), "https://mine.openai.azure.com", set()),
        (
            azure("https://mine.openai.azure.com", options={}),
            "https://mine.openai.azure.com/openai/v1",
            set(),
        ),
    ],
)  # fmt: skip
def test_address_follows_from_the_options(
    config: ProviderConfig, address: str, hosts: set[str]
) -> None:
    """Region or location name the host, and no other is allowed beside the token endpoint's."""
    target = LiteLLMProvider(config).target
    assert target.base_url == address
    assert target.egress.hosts == hosts
    assert not target.egress.local


@pytest.mark.parametrize(
    ("config", "field", "says"),
    [
        (("bedrock", {}), "aws_region_name", "is missing; write for example aws_region_name: us-east-1"),
        (("bedrock", {"aws_region_name": "evil.example.com/#"}), "aws_region_name", "is malformed"),
        (("bedrock", {**REGION, "aws_profile_name": "work"}), "aws_profile_name", "from elsewhere"),
        (("bedrock", {**REGION, "aws_role_name": "arn"}), "aws_role_name", "from elsewhere"),
        (("bedrock", {**REGION, "aws_access_key_id": KEY_ID}), "aws_secret_access_key", "two parts"),
        (("bedrock", {**REGION, **AWS, "aws_session_token": " "}), "aws_session_token", "not empty"),
        (("vertex_ai", {"vertex_project": "p"}), "vertex_location", "is missing"),
        (("vertex_ai", {**PLACE, "vertex_location": "a.b"}), "vertex_location", "is malformed"),
        (("vertex_ai", {**PLACE, "vertex_credentials": "/a.json"}), "vertex_credentials", "file:/path"),
        (
            ("vertex_ai", {**PLACE, "vertex_credentials": '{"type": "external_account"}'}),
            "vertex_credentials",
            "takes its identity from elsewhere",
        ),
        (
            ("vertex_ai", {**PLACE, "vertex_credentials": '{"type": "service_account"}'}),
            "vertex_credentials",
            "lacks client_email, private_key",
        ),
        (
            ("vertex_ai", {**PLACE, "vertex_credentials": account("nonsense", private_key="any")}),
            "vertex_credentials",
            "token_uri that is no address",
        ),
        (("azure_deployments", {}), "api_version", "is missing"),
        (("azure", {"api_version": "x", "tenant_id": "t"}), "tenant_id", "v1 address"),
    ],
)  # fmt: skip
def test_wrong_option_is_refused(config: tuple[str, dict[str, Any]], field: str, says: str) -> None:
    """An option that is missing, malformed, or would fetch an identity, is named with what to write."""
    name, options = config
    with pytest.raises(ProviderConfigError, match=says) as caught:
        LiteLLMProvider.check(
            ProviderConfig(name, base_url="https://x.example.com", model="m", options=options)
        )
    assert caught.value.field == f"options.{field}"
    assert SECRET not in caught.value.message


@pytest.mark.parametrize(
    ("config", "field", "says"),
    [
        (bedrock(None, options=REGION), "api_key", "none are taken from variables, ~/.aws"),
        (vertex(None, options=PLACE), "options.vertex_credentials", "no credentials are taken"),
        (vertex(None, api_key=KEY), "api_key", "takes no api_key"),
        (
            vertex(None, options={**PLACE, "vertex_credentials": account(private_key="none")}),
            "options.vertex_credentials",
            "private_key .*cannot be read",
        ),
    ],
)  # fmt: skip
async def test_provider_without_an_identity_does_not_start(
    config: ProviderConfig, field: str, says: str
) -> None:
    """Without credentials of its own a provider is refused, and says what to write where."""
    try:
        provider = LiteLLMProvider(config)
        assert await provider.initialize() is False
        error: Exception | None = provider.last_error
    except ProviderConfigError as raised:
        error = raised
    assert isinstance(error, ProviderConfigError)
    assert error.field == field
    with pytest.raises(ProviderConfigError, match=says):
        raise error


async def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where boto3 is not installed, Bedrock says what to install."""
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    provider = LiteLLMProvider(bedrock("https://x.example.com"))
    assert await provider.initialize() is False
    assert "pip install 'amas-providers[bedrock]'" in str(provider.last_error)


def test_two_identities_exclude_each_other() -> None:
    """A Bedrock API key beside an access key leaves open who asks, and is refused."""
    with pytest.raises(ProviderConfigError, match="exclude each other") as caught:
        LiteLLMProvider.check(bedrock(None, api_key=KEY))
    assert caught.value.field == "api_key"
