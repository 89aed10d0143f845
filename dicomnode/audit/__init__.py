"""The audit trail: messages of PS3.15 A.5, kept until their file or their server has them.

Here, in the images and in the index stand names of patients; nowhere else.
"""

from dicomnode.audit.forwarder import Forwarder, sinks_of
from dicomnode.audit.message import Application, Node
from dicomnode.audit.notes import Notes
from dicomnode.audit.queue import Backlog, Queue

__all__ = ["Application", "Backlog", "Forwarder", "Node", "Notes", "Queue", "sinks_of"]
