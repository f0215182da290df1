"""The catalogue of reasons: every CamelCase word that a user can meet, with what it means.

One table for verdicts, refusals, phases and conditions, so that `explain WORD`, the
documentation and the screens cannot disagree.  A word, once published, keeps its meaning.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One published word; its meaning is in `MEANINGS`."""

    # why a candidate waits
    NOT_ENROLLED = "NotEnrolled"
    TRUST_NONE = "TrustNone"
    CLONE = "Clone"
    COLLISION = "Collision"
    EJECTED = "Ejected"
    STALE = "Stale"
    FOREIGN_NODE = "ForeignNode"
    INCOMPLETE = "Incomplete"
    UNREAD = "Unread"
    RUNTIME_RUNNING = "RuntimeRunning"
    RUNTIME_NOT_INSTALLED = "RuntimeNotInstalled"
    SPLIT_ROOT = "SplitRoot"
    QUARANTINED = "Quarantined"
    DELISTED = "Delisted"
    # why a candidate cannot be used
    WRONG_FILESYSTEM = "WrongFilesystem"
    TOO_SMALL = "TooSmall"
    READ_ONLY = "ReadOnly"
    AMBIVALENT = "Ambivalent"
    SYSTEM_DISK = "SystemDisk"
    HAS_HOLDERS = "HasHolders"
    MOUNTED_ELSEWHERE = "MountedElsewhere"
    FSCK_FAILED = "FsckFailed"
    IO_ERROR = "IoError"
    PROBE_FAILED = "ProbeFailed"
    HUNG = "Hung"
    # why an operation is refused
    FOREIGN_CONTAINERS = "ForeignContainers"
    ROOT_ELSEWHERE = "RootElsewhere"
    PODS_WITHOUT_RUNTIME = "PodsWithoutRuntime"
    OPERATION_IN_PROGRESS = "OperationInProgress"
    PAUSED = "Paused"
    NO_CHANGES = "NoChanges"
    SAME_NAMESPACE_REQUIRED = "MountNamespace"
    # where the root is, and why
    STARTING = "Starting"
    SETTLING = "Settling"
    SLOT_PROVEN = "SlotProven"
    SLOT_UNPROVEN = "SlotUnproven"
    MOUNTED_BY_OTHERS = "MountedByOthers"
    NO_STICK = "NoStick"
    WISH_INTERNAL = "WishInternal"
    STICK_LOST = "StickLost"
    RUNTIME_STOPPED = "RuntimeStopped"
    OPERATION_RUNNING = "OperationRunning"
    NO_PERMITTED_ROOT = "NoPermittedRoot"
    ROLLBACK_FAILED = "RollbackFailed"
    UNITS_OWED = "UnitsOwed"
    WASH_ASKED = "WashAsked"
    # conditions and attention
    TOO_MANY_STUCK_CHILDREN = "TooManyStuckChildren"
    SANDBOX_IMAGE_MISSING = "SandboxImageMissing"
    PROOF_BROKEN = "ProofBroken"
    DATABASE_CORRUPT = "DatabaseCorrupt"
    FALLBACK_FULL = "FallbackFull"
    SLOW_STICK = "SlowStick"
    KUBELET_MISMATCH = "KubeletMismatch"
    # what a condition found
    ANSWERS = "Answers"
    KUBELET_NOT_RUNNING = "KubeletNotRunning"
    NOT_COMPARABLE = "NotComparable"
    SHOWN = "Shown"
    NOT_SHOWN = "NotShown"
    READS = "Reads"
    DATABASES_ON_SLOT = "DatabasesOnSlot"
    PRESENT = "Present"
    NOT_KNOWN = "NotKnown"
    ENROLLED = "Enrolled"
    TRUST_LABEL = "TrustLabel"


#: What each word means, in one sentence that a person can act upon.
MEANINGS: dict[Reason, str] = {
    Reason.NOT_ENROLLED: "The stick bears the label, but nobody on this node has trusted it yet.",
    Reason.TRUST_NONE: 'The configuration says trust = "none": sticks are shown, never used.',
    Reason.CLONE: "Another device carries the same file system UUID; neither can be told apart.",
    Reason.COLLISION: "Several sticks claim the role and the collision policy leaves the choice"
    " to a person or to another stick.",
    Reason.EJECTED: "It was ejected by hand; pulling it out, a boot or naming it ends this.",
    Reason.STALE: "It is an older copy of a stick that has served here since.",
    Reason.FOREIGN_NODE: "It was prepared on, or active in, another node.",
    Reason.INCOMPLETE: "A copy onto it was begun and never finished.",
    Reason.UNREAD: "It could not be asked what is on it; that is tried again by itself.",
    Reason.RUNTIME_RUNNING: "Using it now would stop a running runtime; it is taken at the next"
    " boot, at an insertion, or by `nodestoragectl switch`.",
    Reason.RUNTIME_NOT_INSTALLED: "The container runtime of this role is not installed.",
    Reason.SPLIT_ROOT: "The runtime keeps a part of its data at another path (root_path): moving"
    " the root would tear the two apart.",
    Reason.QUARANTINED: "Too many automatic switches towards it failed or repeated; it rests.",
    Reason.DELISTED: "It is enrolled, but was taken off the list of choices by hand.",
    Reason.WRONG_FILESYSTEM: "Its file system is not one of those that the role accepts.",
    Reason.TOO_SMALL: "It is smaller than minimum_size.",
    Reason.READ_ONLY: "The device is write-protected.",
    Reason.AMBIVALENT: "It carries several file system signatures; nobody can say which is true.",
    Reason.SYSTEM_DISK: "It carries a part of the running system.",
    Reason.HAS_HOLDERS: "Another layer (LVM, RAID, encryption, loop) uses it.",
    Reason.MOUNTED_ELSEWHERE: "It is mounted somewhere else on this node.",
    Reason.FSCK_FAILED: "The file system check could not mend it.",
    Reason.IO_ERROR: "Reading or writing it failed.",
    Reason.PROBE_FAILED: "It served, and then a timed read or write failed.",
    Reason.HUNG: "A call on it did not come back in time.",
    Reason.FOREIGN_CONTAINERS: "Containers outside the k8s.io namespace run on the same socket;"
    " moving the root would break them.",
    Reason.ROOT_ELSEWHERE: "The runtime keeps its images outside of the root that the role names:"
    " moving that root would not move them.",
    Reason.PODS_WITHOUT_RUNTIME: "The runtime is stopped, but shims of its containers still run.",
    Reason.OPERATION_IN_PROGRESS: "Another operation is running.",
    Reason.PAUSED: "Automation is paused; failover and boot still work.",
    Reason.NO_CHANGES: "A rollback failed; nothing is changed until somebody clears it.",
    Reason.SAME_NAMESPACE_REQUIRED: "The daemon, PID 1 and the runtime do not share one mount"
    " namespace, so a mount made here would not be seen there.",
    Reason.STARTING: "The daemon has not decided yet.",
    Reason.SETTLING: "A device has just come in; more may follow.",
    Reason.SLOT_PROVEN: "The runtime works from the stick, proven link by link.",
    Reason.SLOT_UNPROVEN: "The stick is in place; the proof has not held yet.",
    Reason.MOUNTED_BY_OTHERS: "The stick was mounted by somebody else (fstab, a script) and is"
    " used as it is.",
    Reason.NO_STICK: "No usable stick is present.",
    Reason.WISH_INTERNAL: "An operator asked for the internal directory.",
    Reason.STICK_LOST: "The active stick vanished or died.",
    Reason.RUNTIME_STOPPED: "The runtime was stopped by somebody else; it is not started again.",
    Reason.OPERATION_RUNNING: "An operation moves the root.",
    Reason.NO_PERMITTED_ROOT: "No permitted root is left; the runtime is kept stopped.",
    Reason.ROLLBACK_FAILED: "An operation failed and so did the way back.",
    Reason.WASH_ASKED: "A powerwash was asked for.",
    Reason.DATABASE_CORRUPT: "The runtime's metadata database is damaged; it cannot start from it.",
    Reason.FALLBACK_FULL: "Should the stick be lost, the internal disk has no room for its images.",
    Reason.SLOW_STICK: "The stick was measured as slow when it was prepared.",
    Reason.UNITS_OWED: "Services that an operation had stopped are started again.",
    Reason.TOO_MANY_STUCK_CHILDREN: "Several calls to disks hang; the daemon starts no more.",
    Reason.SANDBOX_IMAGE_MISSING: "The sandbox image is neither in the root nor in the archive;"
    " pods cannot start without a registry.",
    Reason.PROOF_BROKEN: "A link of the proof chain does not hold.",
    Reason.KUBELET_MISMATCH: "kubelet reports another capacity than the image file system has.",
    Reason.ANSWERS: "The runtime answers when it is asked for its image file system.",
    Reason.KUBELET_NOT_RUNNING: "kubelet does not run, so it reports nothing.",
    Reason.NOT_COMPARABLE: "kubelet does not know a root of this kind (overlay, tmpfs, NFS); its"
    " number is of another file system.",
    Reason.SHOWN: "kubelet looks at the root that serves: it reports its size, or was started after"
    " the mount.",
    Reason.NOT_SHOWN: "kubelet reports no capacity, and nothing shows that it was started after the"
    " mount.",
    Reason.READS: "The stick that serves is there and can be read.",
    Reason.DATABASES_ON_SLOT: "The runtime's databases are open on the stick, so nobody uses what"
    " lies hidden under the mount.",
    Reason.PRESENT: "The sandbox image is in the root that serves.",
    Reason.NOT_KNOWN: "Nobody has looked yet, or the runtime does not tell.",
    Reason.ENROLLED: "The stick that serves is trusted on this node.",
    Reason.TRUST_LABEL: 'The configuration says trust = "label": whoever can plug in a stick with'
    " the label decides what this node runs.",
}
