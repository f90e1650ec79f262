"""Functions with machine code: found, or compiled, on the first call with arguments of a type."""

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

from cluster.compiled import cache
from cluster.compiled.loader import MachineCode
from cluster.compiled.signature import words_of

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile ``function`` on its first call and keep the machine code on disk.

    It may allocate nothing: arrays come in as arguments.
    """
    return _kernel(function, inline=True)


def inlined(function: Function) -> Function:
    """Compile ``function`` into the compiled ones that call it."""
    return _kernel(function, inline=True)


def called(function: Function) -> Function:
    """Compile ``function`` as one that compiled code calls and that is not copied into its callers.

    For large functions with several callers: inlined, they would be compiled many times over.
    """
    return _kernel(function, inline=False)


def prepared(function: Callable[..., Any], *first: Any) -> Callable[..., Any]:
    """``function`` with its first arguments, for thousands of calls: their words are made once.

    Arrays among them must keep their memory and shape.
    """
    if not isinstance(function, Kernel):
        return functools.partial(function, *first)
    kernel, kinds = function, list[Any]()
    words = words_of(first, kinds)
    known: dict[tuple[Any, ...], MachineCode] = {}

    def call(*rest: Any) -> Any:
        others: list[Any] = []
        whole = words + words_of(rest, others)
        key = tuple(others)
        if key not in known:
            known[key] = kernel.code_for((*first, *rest), (*kinds, *key))
        return known[key].run(whole)

    return call


def _kernel(function: Function, *, inline: bool) -> Function:
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return function
    return cast("Function", Kernel(function, inline=inline))


class Kernel:
    """A function of Python (``py_func``) with its machine code, one for each kind of arguments."""

    __qualname__: str
    dispatcher: Any
    """numba's own, once something was compiled."""

    def __init__(self, function: Callable[..., Any], *, inline: bool) -> None:
        functools.update_wrapper(self, function)
        self.py_func, self.inline, self.dispatcher = function, inline, None
        self._arity = function.__code__.co_argcount
        self._code: dict[Any, MachineCode] = {}

    def __call__(self, *args: Any, **named: Any) -> Any:
        if named or len(args) != self._arity:
            bound = inspect.signature(self.py_func).bind(*args, **named)
            bound.apply_defaults()
            args = bound.args
        kinds: list[Any] = []
        words = words_of(args, kinds)
        return self.code_for(args, tuple(kinds)).run(words)

    def code_for(self, args: tuple[Any, ...], kinds: tuple[Any, ...]) -> MachineCode:
        """Found or compiled for arguments of these kinds."""
        code = self._code.get(kinds)
        if code is None:
            code = self._code[kinds] = self._found(args, kinds)
        return code

    @property
    def signatures(self) -> list[tuple[Any, ...]]:
        """Kinds of arguments that it has been called with."""
        return list(self._code)

    def __reduce__(self) -> str:
        return self.__qualname__

    def _found(self, args: tuple[Any, ...], key: tuple[Any, ...]) -> MachineCode:
        place = cache.place_of(self.py_func, key)
        text = cache.kept(place)
        if text is None:
            cache.notice()
            from cluster.compiled.compiler import machine_code

            text = machine_code(self, args)
            cache.keep(place, text)
        return MachineCode(self.__qualname__, text)
