"""From a job's snapshot to what is analysed: model files, and the files that fill their roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dicomnode.config import model_from_text
from dicomnode.domain.job import Snapshot
from dicomnode.domain.node import Peer
from dicomnode.errors import MissingInput
from dicomnode.ledger import studies
from dicomnode.ledger.engine import Ledger
from dicomnode.run.analyse import Task
from dicomnode.spool import Spool


class Inputs:
    """Finds the inputs of jobs."""

    def __init__(self, ledger: Ledger, spool: Spool, peers: Mapping[str, Peer]) -> None:
        self._ledger, self._spool, self._peers = ledger, spool, peers

    def tasks(self, job_id: int, study_uid: str, snapshot: Snapshot) -> list[Task]:
        """Return each model of a job with the files of its roles.

        Raises
        ------
        MissingInput
            If an image is no longer kept.
        ConfigError
            If a model file cannot be read by this version.
        """
        texts = {model.name: model.toml for model in snapshot.models}
        tasks = []
        for binding in snapshot.bindings:
            model = model_from_text(texts[binding.model], source=f"job {job_id}, model {binding.model}")
            paths = {one.role: self.paths(study_uid, one.sop_instance_uids) for one in binding.series}
            tasks.append(Task(model=model, paths=paths))
        return tasks

    def paths(self, study_uid: str, sop_instance_uids: Sequence[str]) -> list[Path]:
        """Return where the newest copy of each image lies; raises MissingInput."""
        with self._ledger.read() as connection:
            paths = studies.instance_paths(connection, study_uid, sop_instance_uids)
        missing = [one for one in sop_instance_uids if one not in paths]
        if missing:
            raise MissingInput(
                f"{len(missing)} of {len(sop_instance_uids)} images are no longer in the store "
                "(retention deletes finished studies); have the study sent again"
            )
        return [self._spool.store_path(paths[one]) for one in sop_instance_uids]

    def charset_fallback(self, snapshot: Snapshot) -> str:
        """Return the character set that the senders of a study use without saying so; empty for none."""
        found = [peer.charset_fallback for peer in self._peers.values()
                 if peer.ae_title in snapshot.source_ae_titles and peer.charset_fallback]
        return found[0] if found else ""
