"""The sections ``audit:``, ``metrics:``, ``tracing:`` and ``alerts:`` as models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from .field_types import Count, Days, Flag, Interval, Port, Seconds, Text, Webhook, as_text
from .section import Section

AuditContent: TypeAlias = Literal["none", "hash", "full"]
FsyncPolicy: TypeAlias = Literal["always", "interval", "never"]
UnwritablePolicy: TypeAlias = Literal["drop", "block"]
AlertFormat: TypeAlias = Literal["json", "slack"]


class AuditSettings(Section):
    """The record of every call."""

    path: Text | None = Field(
        default=None,
        title="Path",
        description="File the records are appended to; without it they go to a logger.",
        examples=["logs/provider-audit.jsonl"],
    )
    content: Annotated[AuditContent, BeforeValidator(as_text)] = Field(
        default="none",
        title="Content",
        description="What of prompts and answers is recorded: none, hash or full.",
        examples=["none"],
    )
    fsync: Annotated[FsyncPolicy, BeforeValidator(as_text)] = Field(
        default="interval",
        title="Fsync",
        description="When records are forced to the disk: always (an answer waits for its record),"
        " interval (once a second) or never.",
        examples=["interval"],
    )
    when_unwritable: Annotated[UnwritablePolicy, BeforeValidator(as_text)] = Field(
        default="drop",
        title="When unwritable",
        description="What happens while records cannot be written: drop (calls go on) or block"
        " (no call without its record).",
        examples=["drop"],
    )
    checkpoint: Text | None = Field(
        default=None,
        title="Checkpoint",
        description="Folder of the checkpoints that show when records were cut off; best on another"
        " disk or machine. The folder of path if left out.",
        examples=["/var/lib/amas/checkpoints"],
    )
    max_megabytes: Count = Field(
        default=100,
        title="Largest file",
        description="Megabytes after which a file is put aside and a new one begun.",
        examples=[100],
    )
    max_days: Days = Field(
        default=30.0,
        title="Longest file",
        description="Days after which a file is put aside and a new one begun.",
        examples=[1],
    )
    keep_days: Days | None = Field(
        default=None,
        title="Keep",
        description="Days after which a file that was put aside is removed; kept for ever if left"
        " out.",
        examples=[365],
    )


class MetricsSettings(Section):
    """Figures for Prometheus."""

    enabled: Flag = Field(
        default=False,
        title="Enabled",
        description="Whether metrics are kept, in the registry of prometheus_client.",
        examples=[True],
    )
    port: Port | None = Field(
        default=None,
        title="Port",
        description="Port they are served at, under /metrics; without it the service serves the"
        " registry itself.",
        examples=[9464],
    )
    host: Text = Field(
        default="127.0.0.1",
        title="Host",
        description="Address that the port is opened at.",
        examples=["127.0.0.1"],
    )


class TracingSettings(Section):
    """Spans for OpenTelemetry."""

    enabled: Flag = Field(
        default=False,
        title="Enabled",
        description="Whether each call and each attempt is a span.",
        examples=[True],
    )
    propagate: Flag = Field(
        default=False,
        title="Propagate",
        description="Whether upstreams are sent the W3C trace context.",
        examples=[False],
    )


class AlertSettings(Section):
    """Who is told when a provider needs somebody."""

    webhook: Webhook | None = Field(
        default=None,
        title="Webhook",
        description="Address alerts are posted to; a credential, so best a reference.",
        examples=["${ALERT_WEBHOOK}"],
    )
    format: Annotated[AlertFormat, BeforeValidator(as_text)] = Field(
        default="json",
        title="Format",
        description="What is posted: json, or slack for Slack and what understands its form.",
        examples=["slack"],
    )
    min_interval: Interval = Field(
        default=300.0,
        title="Least interval",
        description="Seconds between two alerts about the same thing.",
        examples=[300],
    )
    latency: Seconds | None = Field(
        default=None,
        title="Latency",
        description="Seconds that 95 of 100 answers of a provider may take; not watched if left"
        " out.",
        examples=[10],
    )


@dataclass(frozen=True, slots=True)
class ObservabilitySettings:
    """The four sections together.

    Args:
        audit: The record of every call; None leaves it to a logger.
        metrics: Figures for Prometheus.
        tracing: Spans for OpenTelemetry.
        alerts: Who is told when a provider needs somebody; None for nobody.
    """

    audit: AuditSettings | None = None
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    alerts: AlertSettings | None = None
