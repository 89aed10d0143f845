"""Tables of ``node.toml`` that say how each role works: one class each, with the defaults of its keys."""

from __future__ import annotations

from dataclasses import dataclass


def positive(**values: float) -> None:
    """Refuse what is not above 0, by its name."""
    for name, value in values.items():
        if value <= 0:
            msg = f"{name} = {value}: allowed are values above 0"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionSettings:
    """When a study counts as whole."""

    quiet_s: float = 30.0
    max_wait_s: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How studies are analysed."""

    processes: int = 1
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    threads: int = 0  # 0: as many as the machine has
    lease_s: float = 60.0
    attempts: int = 3
    backoff_s: float = 15.0
    backoff_max_s: float = 900.0
    warm_models: int = 2
    beside_models_s: float = 900.0  # reading, measuring and encoding may take so long beside the models' time limits
    read_ahead_mb: int = 1024  # 0: the next study is read only when it is claimed
    max_decoded_mb: int = 8192  # of one series, as its headers declare it
    language: str = "en"  # CodeMeanings and sentences of the reports: en | zh

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        positive(processes=self.processes, lease_s=self.lease_s, attempts=self.attempts, warm_models=self.warm_models)
        if self.language not in {"en", "zh"}:
            msg = f"language = {self.language!r}: allowed are 'en' and 'zh'"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """How results are delivered."""

    processes: int = 1
    max_age_h: float = 72.0
    backoff_s: float = 15.0
    backoff_max_s: float = 900.0
    timeout_s: float = 60.0
    lease_s: float = 120.0
    commit_ask_again_s: float = 300.0
    max_per_peer: int = 2
    commit_listen_s: float = 1.0

    @property
    def senders_per_peer(self) -> int:
        """How many senders may serve one peer at a time: never all of them, where there are several."""
        return self.max_per_peer if self.processes == 1 else min(self.max_per_peer, self.processes - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """When delivered studies may be deleted from the spool."""

    keep_days: float = 14.0
    free_gb_wanted: float = 10.0  # below it, the oldest finished studies go first


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The status page and metrics endpoint."""

    enabled: bool = True
    bind: str = "127.0.0.1"
    port: int = 11180


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged."""

    level: str = "INFO"

    def __post_init__(self) -> None:
        """Refuse an unknown level."""
        if self.level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            msg = f"level = {self.level!r}: allowed are DEBUG, INFO, WARNING, ERROR"
            raise ValueError(msg)
