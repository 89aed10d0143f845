"""Results to peers: associations that the node asks for, and what the peers' answers mean."""

from dicomnode.deliver.commit import report_commitment, request_commitment
from dicomnode.deliver.part10 import Outgoing, OutgoingFile, outgoing_file
from dicomnode.deliver.scu import deliver, echo, send_files

__all__ = ["Outgoing", "OutgoingFile", "deliver", "echo", "outgoing_file", "report_commitment",
           "request_commitment", "send_files"]
