"""What can go wrong below the loop level: an impossible target, code LLVM refuses, a run that was stopped."""

from __future__ import annotations


class CodegenError(Exception):
    """Base of every error raised while making or running native code."""


class TargetError(CodegenError):
    """A machine level that does not exist or that this host cannot run."""


class CompileError(CodegenError):
    """LLVM refused a kernel, or a kernel could not be linked. The message names the kernel and where its text is."""


class KernelError(CodegenError):
    """A native kernel stopped a program without a Python exception behind it."""
