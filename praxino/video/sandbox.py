"""What a process that decodes untrusted video may no longer do; Linux keeps it from the rest.

A hole in a decoder gives an attacker the process that decodes. `lock` leaves that process nothing
to attack with: no file, no network, no other program or process, bounded memory. Each lock is put
on where the kernel has it, and `locks_that_hold` tries the doors afterwards instead of believing.
"""

import ctypes
import math
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable

_LINUX = sys.platform == "linux"

# include/uapi/linux/prctl.h, capability.h, sched.h, landlock.h, seccomp.h, filter.h, audit.h
_PR_SET_PDEATHSIG, _CAPABILITY_VERSION = 1, 0x20080522
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_THREAD = 0x10000000, 0x40000000, 0x00010000
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF, _LANDLOCK_VERSION = 444, 446, 1
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _IF_EQUAL, _IF_BITS, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_EPERM, _ENOSYS = 1, 38

# System calls that a decoder never makes, as (x86-64, arm64); None where there is none. The same
# numbers hold for both from 424 on.
_FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    # files by name
    **{"open": (2, None), "creat": (85, None), "openat": (257, 56), "openat2": (437, 437)},
    **{"open_by_handle_at": (304, 265), "truncate": (76, 45), "rename": (82, None)},
    **{"renameat": (264, 38), "renameat2": (316, 276), "unlink": (87, None), "unlinkat": (263, 35)},
    **{"mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "link": (86, None)},
    **{"linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None)},
    **{"mknodat": (259, 33), "chmod": (90, None), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"chown": (92, None), "lchown": (94, None), "fchownat": (260, 54), "mount": (165, 40)},
    **{"utime": (132, None), "utimes": (235, None), "futimesat": (261, None)},
    **{"utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6)},
    **{"removexattr": (197, 14), "lremovexattr": (198, 15), "chdir": (80, 49)},
    **{"chroot": (161, 51), "inotify_add_watch": (254, 27), "fanotify_init": (300, 262)},
    # what is written beside the content of a file that is open, the video above all
    **{"fchmod": (91, 52), "fchown": (93, 55), "fsetxattr": (190, 7), "fremovexattr": (199, 16)},
    **{"flock": (73, 32)},
    # the network; a datagram of a pair of sockets can be sent to a third one by its name
    **{"socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "accept": (43, 202)},
    **{"accept4": (288, 242), "listen": (50, 201), "socketpair": (53, 199)},
    # other programs and processes
    **{"execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None)},
    **{"kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138)},
    **{"rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140), "ioprio_set": (251, 30)},
    **{"sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119)},
    **{"sched_setparam": (142, 118), "sched_setattr": (314, 274), "kcmp": (312, 272)},
    **{"process_madvise": (440, 440), "process_mrelease": (448, 448)},
    **{"migrate_pages": (256, 238), "move_pages": (279, 239)},
    **{"pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438)},
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    **{"setsid": (112, 157), "setpgid": (109, 154)},
    # memory and messages that all processes of a user share
    **{"shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186)},
    **{"msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "semget": (64, 190)},
    **{"semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192)},
    **{"mq_open": (240, 180), "mq_unlink": (241, 181)},
    # ways around a filter, and parts of the kernel that had many holes
    **{"io_uring_setup": (425, 425), "bpf": (321, 280), "perf_event_open": (298, 241)},
    **{"userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217)},
    **{"unshare": (272, 97), "setns": (308, 268)},
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, architecture number
_CLONE, _CLONE3, _PRLIMIT, _TGKILL = (56, 220), (435, 435), (302, 261), (234, 131)
_FCNTL, _IOCTL = (72, 25), (16, 29)

# Their other commands set owners who get signals, leases, and attributes of files.
_FCNTL_ALLOWED = (0, 1, 2, 3, 4, 1030)  # copy a descriptor, get and set flags
_IOCTL_ALLOWED = (0x5421, 0x5450, 0x5451)  # FIONBIO, FIONCLEX, FIOCLEX: flags of a descriptor


def lock(memory_bytes: int) -> None:
    """Take files, network and more memory away from this process and all that it forks.

    What is loaded by now stays usable, so import everything first.

    Args:
        memory_bytes: address space beyond what is in use at this moment.
    """
    ceiling = _address_space() + memory_bytes
    for what, limit in (
        (resource.RLIMIT_AS, ceiling),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    if _LINUX:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # Each may be refused, by an old kernel or in a container; the next one may still hold.
        # What they answer is not asked: `locks_that_hold` tries.
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        _forbid_paths(libc)
        libc.capset(struct.pack("Ii", _CAPABILITY_VERSION, 0), bytes(24))  # root is nobody special


def lock_fork(cpu_seconds: int) -> None:
    """Bound the processor time of a fork, and forbid every system call that no decoder needs.

    On Linux, the fork also ends with the process that forked it.

    Args:
        cpu_seconds: for this process and its threads, in all.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    if _LINUX:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _forbid_calls(libc)


def allow_cpu_seconds(seconds: int) -> None:
    """From now on this process may use so much processor time; then SIGXCPU ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    wanted = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (min(wanted, most), most))


def locks_that_hold(memory_bytes: int) -> dict[str, bool]:
    """Try every door of a locked process.

    Returns:
        Whether it has `no_files`, `no_network`, `no_programs`, `no_processes`, `no_signals`,
        `memory_limit` and `cpu_limit`.
    """
    return {
        "no_files": _is_refused(lambda: os.close(os.open("/", os.O_RDONLY))),
        "no_network": _is_refused(_reach_the_network),
        "no_programs": _is_refused(lambda: os.execv("/no/such/program", ["none"])),
        "no_processes": _is_refused(_fork),
        "no_signals": _is_refused(lambda: os.kill(os.getppid(), 0)),
        "memory_limit": _is_refused(lambda: mmap.mmap(-1, memory_bytes + 1).close()),
        "cpu_limit": resource.getrlimit(resource.RLIMIT_CPU)[1] != resource.RLIM_INFINITY,
    }


def _is_refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (PermissionError, MemoryError):
        return True
    except OSError as error:
        return error.errno in (12, 101)  # no memory; the network is unreachable
    return False


def _reach_the_network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.sendto(b"", ("127.0.0.1", 9))


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _address_space() -> int:
    """Bytes of address space in use; 0 where the system does not tell (it sets no limit then)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * mmap.PAGESIZE
    except FileNotFoundError:
        return 2**40


def _forbid_paths(libc: ctypes.CDLL) -> None:
    """Landlock with rights to handle and none granted: no path can be opened or changed."""
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return
    file_rights = 13 + (version >= 2) + (version >= 3) + (version >= 5)  # bits, by version
    rules = struct.pack("QQQ", (1 << file_rights) - 1, 0b11, 0b11)  # files, TCP, signals
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, rules, size, 0)
    if ruleset >= 0:
        libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)


def _forbid_calls(libc: ctypes.CDLL) -> None:
    """A seccomp filter: the calls above fail with EPERM, all others pass."""
    if platform.machine() not in _MACHINES:
        return
    column, architecture = _MACHINES[platform.machine()]
    deny = (_RETURN, 0, 0, _ERRNO | _EPERM)
    program = [
        (_LOAD, 0, 0, 4),
        (_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the number of the call
    ]
    if column == 0:  # x86-64 has a second set of numbers
        program += [(_IF_AT_LEAST, 0, 1, 0x40000000), deny]
    for numbers in _FORBIDDEN.values():
        if (number := numbers[column]) is not None:
            program += [(_IF_EQUAL, 0, 1, number), deny]
    # Its flags are out of sight of a filter: the C library falls back to clone.
    program += [(_IF_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    for number, argument, test, allowed in (
        (_CLONE[column], 0, _IF_BITS, (_CLONE_THREAD,)),  # threads, but no processes
        (_PRLIMIT[column], 0, _IF_EQUAL, (0,)),  # its own limits, and nobody else's
        (_TGKILL[column], 0, _IF_EQUAL, (os.getpid(),)),  # abort() sends itself a signal
        (_FCNTL[column], 1, _IF_EQUAL, _FCNTL_ALLOWED),
        (_IOCTL[column], 1, _IF_EQUAL, _IOCTL_ALLOWED),
    ):
        values = len(allowed)
        program += [(_LOAD, 0, 0, 0), (_IF_EQUAL, 0, values + 2, number)]
        program += [(_LOAD, 0, 0, 16 + 8 * argument)]
        program += [(test, values - place, 0, value) for place, value in enumerate(allowed)]
        program += [deny]
    program += [(_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filter_program = struct.pack("HP", len(program), ctypes.addressof(code))
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_program, 0, 0)
