"""The script that makes the chest demonstration bundle: its network learns nodules only in several cycles."""
