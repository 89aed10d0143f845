"""Bytes on disk: what is acknowledged is durable, and nothing is deleted before it is safe elsewhere."""

from dicomnode.spool.arrivals import Arrival, ArrivalFolder, Incoming
from dicomnode.spool.held import Held
from dicomnode.spool.slots import Slot
from dicomnode.spool.spool import Spool

__all__ = ["Arrival", "ArrivalFolder", "Held", "Incoming", "Slot", "Spool"]
