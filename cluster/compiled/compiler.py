"""The only import of numba: machine code of a kernel and of the functions that it calls.

numba optimises and assembles each function and links it into its callers, where all is done again:
with kernels as deep as ours, most of the time. Here callees are typed and lowered alone; the whole
is optimised and assembled once, as an object file with one entry. Functions take plain types: numba
would compile them again for each constant (``start(state, 0)``), and again for its type.
"""

import gc
import hashlib
from importlib import import_module
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import codegen, compiler, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.llvm_bindings import create_pass_builder
from numba.core.typed_passes import NativeLowering
from numba.core.typing.typeof import Purpose, typeof, typeof_impl

from cluster.compiled.cache import bounds_checked
from cluster.compiled.kernel import Kernel
from cluster.compiled.loader import OUTPUTS, cpu

if TYPE_CHECKING:
    from collections.abc import Sequence

dynfunc: Any = import_module("numba._dynfunc")
_WORD = ir.IntType(64)
_LETTERS = {types.int64: "i", types.boolean: "b", types.float64: "f"}


def machine_code(kernel: Kernel, args: "Sequence[Any]") -> bytes:
    """Text of ``loader`` for a kernel that is called with arguments like these."""
    of = tuple(types.unliteral(typeof(each, Purpose.argument)) for each in args)
    dispatcher = _dispatcher(kernel)
    collecting = gc.isenabled()
    gc.disable()  # it would take a fifth of the time, and find nothing
    try:
        with global_compiler_lock:
            dispatcher.compile(of)
            return _object_code(dispatcher.overloads[of])
    finally:
        if collecting:
            gc.enable()


def _dispatcher(kernel: Kernel) -> Any:
    """numba's own, which types and lowers; made once."""
    made = kernel.dispatcher
    if made is None:
        njit: Any = numba.njit
        jitted = njit(
            _nrt=False,
            forceinline=kernel.inline,
            boundscheck=bounds_checked(),
            no_cpython_wrapper=True,
            no_cfunc_wrapper=True,
            pipeline_class=_Compiler,
        )
        made = jitted(kernel.py_func)
        template = made.get_call_template
        made.get_call_template = lambda args, named: template(
            [types.unliteral(each) for each in args],
            {name: types.unliteral(each) for name, each in named.items()},
        )
        kernel.dispatcher = made
    return made


@typeof_impl.register(Kernel)
def _type_of_kernel(kernel: Kernel, _context: Any) -> Any:
    return types.Dispatcher(_dispatcher(kernel))


class _Library(codegen.JITCodeLibrary):
    """Code that is linked into others and never run by numba: neither optimised nor assembled."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        """Nothing: what it calls is linked with it, once, where the kernel's code is made."""
        self._finalized = True

    def with_callees(self, found: dict[Any, Any]) -> dict[Any, Any]:
        """The modules of this library and of all that it calls, each once; numba's own functions
        come with what they call."""
        found[self] = self._final_module
        for each in self._linking_libraries:
            if each in found:
                continue
            if isinstance(each, _Library):
                each.with_callees(found)
            else:
                found[each] = each._get_module_for_linking()
        return found


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    _name = "corsair_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        lowered = state["cr"]
        name = lowered.fndesc.qualname.rsplit(".", 1)[-1]
        # without code: callers look it up by this object
        stub = dynfunc.make_function(
            lowered.fndesc.lookup_module(), name, "", 0, lowered.env, (state.library,)
        )
        state.targetctx.insert_user_function(stub, lowered.fndesc, [state.library])
        state["cr"] = lowered._replace(cfunc=stub)
        return True


class _Compiler(compiler.CompilerBase):
    def define_pipelines(self) -> list[Any]:
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [
            (_Lowering if each is NativeLowering else each, text) for each, text in passes.passes
        ]
        passes.finalize()
        return [passes]


def _object_code(result: Any) -> bytes:
    """Optimise and assemble all that a compiled result is linked of."""
    context = result.target_context
    name, words, returns = _add_entry(result, context)
    module = llvm.parse_assembly(words[1])
    for each in result.library.with_callees({}).values():
        module.data_layout = each.data_layout
        module.link_in(each, preserve=True)
    for each in (*module.functions, *module.global_variables):
        if not each.is_declaration and each.name != name:
            each.linkage = "internal"
    target = _target_machine()
    _optimise(module, target)
    if any(each.name.startswith("numba.dynamic.globals") for each in module.global_variables):
        raise TypeError(f"{result.fndesc.qualname} uses an object that is no constant")
    symbols = [
        each.name
        for each in module.functions
        if each.is_declaration and not each.name.startswith("llvm.")
    ]
    head = f"{name} {words[0]} {returns} {','.join(symbols)}\n".encode()
    return head + bytes(target.emit_object(module))


def _optimise(module: Any, target: Any) -> None:
    """numba's full round of passes. The cheap one that it runs before finds references to drop, of
    which there are none here; without it code is not slower, and made in two thirds of the time."""
    config: Any = numba.config
    loops, straight = bool(config.LOOP_VECTORIZE), bool(config.SLP_VECTORIZE)
    full = create_pass_builder(target, opt=3, loop_vectorize=loops, slp_vectorize=straight)
    full.getModulePassManager().run(module, full)


def _target_machine() -> Any:
    name, features = cpu()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    x86 = target.name.startswith("x86")
    return target.create_target_machine(
        cpu=name,
        features=features,
        opt=3,
        reloc="static" if x86 else "default",
        codemodel="jitdefault",
        jit=True,
    )


def _add_entry(result: Any, context: Any) -> tuple[str, tuple[int, str], str]:
    """An entry that takes the address of words: outputs first, then the arguments."""
    described = result.fndesc
    arguments = context.get_arg_packer(described.argtypes)
    flat = arguments.argument_types
    returned, is_tuple = _returned(described.restype)
    name = "entry_" + hashlib.sha256(described.mangled_name.encode()).hexdigest()[:16]
    module = context.create_module("entry")
    module.data_layout = ""
    callee = ir.Function(
        module,
        context.call_conv.get_function_type(described.restype, described.argtypes),
        described.llvm_func_name,
    )
    entry = ir.Function(module, ir.FunctionType(ir.IntType(32), [_WORD.as_pointer()]), name)
    builder = ir.IRBuilder(entry.append_basic_block("entry"))
    first = OUTPUTS + len(returned)

    def place(number: int, kind: Any) -> Any:
        address = builder.gep(entry.args[0], [_WORD(number)])
        return builder.bitcast(address, kind.as_pointer())

    loaded = [builder.load(place(first + at, kind)) for at, kind in enumerate(flat)]
    values = arguments.from_arguments(builder, loaded)
    status, value = context.call_conv.call_function(
        builder, callee, described.restype, described.argtypes, values
    )
    with builder.if_then(status.is_user_exc):
        info = builder.load(status.excinfoptr)
        pickled, length = (builder.extract_value(info, at) for at in (0, 1))
        builder.store(builder.ptrtoint(pickled, _WORD), place(0, _WORD))
        builder.store(builder.sext(length, _WORD), place(1, _WORD))
    with builder.if_then(status.is_ok):
        for at, letter in enumerate(returned):
            part = builder.extract_value(value, at) if is_tuple else value
            if letter == "b":
                part = builder.zext(part, _WORD)
            builder.store(part, place(OUTPUTS + at, part.type))
    builder.ret(builder.zext(status.is_error, ir.IntType(32)))
    return name, (len(flat), str(module)), f"({returned})" if is_tuple else returned or "()"


def _returned(kind: Any) -> tuple[str, bool]:
    """Letters of what a kernel returns, and whether as a tuple."""
    kind = types.unliteral(kind)
    if kind is types.none:
        return "", False
    if isinstance(kind, types.BaseTuple):
        items: Any = kind
        return "".join(_LETTERS[types.unliteral(each)] for each in items), True
    return _LETTERS[kind], False
