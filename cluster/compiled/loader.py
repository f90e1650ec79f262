"""Links object code into this process with LLVM's runtime linker, and calls it; without numba.

The text of a kernel is one line, ``entry words returns symbols``, and the object code: the name of
its entry, how many words it takes, what it returns (a letter each, in brackets if it is a tuple),
and the C functions that it calls, with commas.
"""

import ctypes
import pickle
from functools import cache
from typing import Any

import llvmlite.binding as llvm

OUTPUTS = 2
"""Words in front of the returned ones: address and length of an exception."""


class MachineCode:
    """One kernel, linked."""

    def __init__(self, name: str, text: bytes) -> None:
        head, code = text.split(b"\n", 1)
        entry, words, returns, symbols = head.decode().split(" ")
        _resolve(symbols.split(",") if symbols else [])
        self._name, self._words = name, int(words)
        self._tuple, self._returns = returns.startswith("("), returns.strip("()")
        self._outputs = OUTPUTS + len(self._returns)
        self._buffer = ctypes.c_int64 * (self._outputs + self._words)
        self._engine = _linked(code)
        address = self._engine.get_function_address(entry)
        # the interpreter's lock is kept, as numba does
        self._function = ctypes.PYFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(address)

    def run(self, words: list[int]) -> Any:
        """Call it; raise what it raises."""
        if len(words) != self._words:
            raise TypeError(f"{self._name} takes {self._words} words, got {len(words)}")
        buffer = self._buffer(*(0,) * self._outputs, *words)
        if self._function(ctypes.addressof(buffer)):
            self._raise(buffer)
        if not self._returns:
            return None
        found = [_value(buffer, OUTPUTS + at, kind) for at, kind in enumerate(self._returns)]
        return tuple(found) if self._tuple else found[0]

    def _raise(self, buffer: Any) -> None:
        if not buffer[0]:
            raise RuntimeError(f"{self._name} has failed in compiled code")
        kind, args = pickle.loads(ctypes.string_at(buffer[0], buffer[1]))[:2]
        raise kind(*(args or ()))


def _value(buffer: Any, at: int, kind: str) -> Any:
    if kind == "f":
        return ctypes.c_double.from_buffer(buffer, 8 * at).value
    return bool(buffer[at]) if kind == "b" else int(buffer[at])


@cache
def _started() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple())


def _linked(code: bytes) -> Any:
    """An engine with this object code alone, so that equal names in two of them are no trouble."""
    machine = _started().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _resolve(symbols: list[str]) -> None:
    """Make sure that all are known: LLVM would end the process over one that is not."""
    if all(llvm.address_of_symbol(each) for each in symbols):
        return
    import numba.core.registry  # its own helpers, or the C library's under their plain names

    numba.core.registry.cpu_target.target_context.refresh()
    missing = [each for each in symbols if not llvm.address_of_symbol(each)]
    if missing:
        raise RuntimeError(f"compiled code needs {', '.join(missing)}, unknown in this process")


def triple() -> str:
    """Architecture and system."""
    return str(llvm.get_process_triple())


@cache
def cpu() -> tuple[str, str]:
    """Name and features of the processor that code is made for.

    Code for one of a family runs on all of it: kernels are not faster with more (measured), and no
    result depends on it, since nothing is contracted or reordered.
    """
    features = llvm.get_host_cpu_features()
    if all(features.get(each) for each in FAMILY_FEATURES):
        return FAMILY, ""
    return llvm.get_host_cpu_name(), features.flatten()


FAMILY = "x86-64-v3"
FAMILY_FEATURES = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
