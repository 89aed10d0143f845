"""The guided tour: a real node and a PACS on this machine, a study there and back."""
