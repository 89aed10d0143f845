"""dicomnode: a PACS-integrated AI node for CT and MR."""

__version__ = "0.1.0"
