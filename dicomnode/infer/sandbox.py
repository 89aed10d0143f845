"""The child's cage: what the kernel grants is taken, what it refuses is said.

Entered before torch is imported and before anything of a bundle is seen. Linux only; each lock is
independent of the others, and a lock that the kernel refuses is reported, not fatal.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import json
import os
import resource
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_NO_NEW_PRIVS: Final = 38
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
CLONE_NEWIPC: Final = 0x08000000
CAPABILITY_VERSION_3: Final = 0x20080522

LANDLOCK_CREATE_RULESET: Final = 444  # the same number on every architecture
LANDLOCK_ADD_RULE: Final = 445
LANDLOCK_RESTRICT_SELF: Final = 446
FS_BITS_BY_ABI: Final = {1: 13, 2: 14, 3: 15, 4: 15}
FS_BITS_NEWEST: Final = 16
FS_EXECUTE, FS_WRITE_FILE, FS_READ_FILE, FS_READ_DIR, FS_IOCTL = 1, 2, 4, 8, 1 << 15
NET_ABI: Final = 4
SCOPE_ABI: Final = 6
MAX_OPEN_FILES: Final = 1024

SYSTEM_TREES: Final = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/proc/self", "/proc/cpuinfo", "/proc/meminfo",
    "/proc/sys/kernel", "/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/zero", "/dev/urandom",
)
GPU_TREES: Final = ("/proc/driver/nvidia", "/proc/devices", "/sys/bus/pci", "/sys/devices", "/sys/module")

_libc = ctypes.CDLL(None, use_errno=True)


def enter(*, parent_pid: int, gpu: bool) -> dict[str, str]:
    """Lock this process up; return what each lock is, or why it could not be had.

    Keys: ``network``, ``filesystem``, ``privileges``, ``limits``, ``parent``.
    """
    report = {"network": _leave_network(), "limits": _limit_resources()}
    report["privileges"] = _drop_privileges()
    report["filesystem"] = _close_filesystem(gpu=gpu)
    if report["network"].startswith("not") and report["filesystem"].startswith("reads") and landlock_abi() >= NET_ABI:
        report["network"] += "; TCP is closed by Landlock"
    report["parent"] = _die_with(parent_pid)
    return report


def _leave_network() -> str:
    for flags, name in ((CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC, "own user namespace"), (CLONE_NEWNET, "root")):
        if _libc.unshare(flags) == 0:
            return f"none (empty namespace, {name})"
    return f"not separated: the kernel refuses namespaces ({errno.errorcode.get(ctypes.get_errno(), '?')})"


def _limit_resources() -> str:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    open_files = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    return f"no core dump, no file may grow, {open_files} open files"


def _drop_privileges() -> str:
    granted = []
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        granted.append("no new privileges")
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, (ctypes.c_uint32 * 6)()) == 0:
        granted.append("no capabilities")
    return ", ".join(granted) or "not dropped"


def _die_with(parent_pid: int) -> str:
    """Ask for SIGKILL when the parent ends; set last, because a change of credentials clears it."""
    granted = _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0
    if os.getppid() != parent_pid:
        sys.exit(os.EX_TEMPFAIL)
    return "dies with the node" if granted else "not bound"


def _close_filesystem(*, gpu: bool) -> str:
    abi = landlock_abi()
    if abi < 1:
        return "not closed: this kernel has no Landlock"
    handled = (1 << FS_BITS_BY_ABI.get(abi, FS_BITS_NEWEST)) - 1
    ruleset = _create_ruleset(abi, handled)
    if ruleset < 0:
        return f"not closed: Landlock refuses ({errno.errorcode.get(ctypes.get_errno(), '?')})"
    for path in readable_trees():
        _allow(ruleset, path, (FS_EXECUTE | FS_READ_FILE | FS_READ_DIR) & handled)
    if gpu:
        for path in GPU_TREES:
            _allow(ruleset, path, (FS_READ_FILE | FS_READ_DIR) & handled)
        for path in glob.glob("/dev/nvidia*"):  # noqa: PTH207
            _allow(ruleset, path, (FS_READ_FILE | FS_WRITE_FILE | FS_IOCTL | FS_READ_DIR) & handled)
    closed = _libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return f"reads the installed software only, writes nothing (Landlock {abi})" if closed else "not closed"


def landlock_abi() -> int:
    """Return which version of Landlock this kernel has; below 1, none."""
    return int(_libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1))


def readable_trees() -> tuple[str, ...]:
    """Return what the child may read: Python, its libraries, this package, facts about the processor."""
    package = str(Path(__file__).resolve().parent.parent)
    libraries = [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    return tuple(dict.fromkeys((*SYSTEM_TREES, sys.base_prefix, sys.prefix, package, *libraries)))


def _create_ruleset(abi: int, handled: int) -> int:
    connect_and_bind_tcp, other_sockets_and_signals = 3, 3
    attributes = [handled]
    if abi >= NET_ABI:
        attributes.append(connect_and_bind_tcp)
    if abi >= SCOPE_ABI:
        attributes.append(other_sockets_and_signals)
    packed = (ctypes.c_uint64 * len(attributes))(*attributes)
    return int(_libc.syscall(LANDLOCK_CREATE_RULESET, packed, ctypes.sizeof(packed), 0))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not Path(path).is_dir():
        access &= FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_IOCTL
    rule = _PathBeneath(access, fd)
    _libc.syscall(LANDLOCK_ADD_RULE, ruleset, 1, ctypes.byref(rule), 0)
    os.close(fd)


def _lines(report: dict[str, str]) -> Iterable[str]:
    yield json.dumps(report)


if __name__ == "__main__":
    sys.stdout.writelines(_lines(enter(parent_pid=os.getppid(), gpu=False)))
