"""Pass many arrays to a kernel by one pointer.

numba passes seven numbers per array, and generates code for them at every call. With the 46 arrays
of a :func:`cascadelib.fronts.kernels.state.workspace` in namedtuples, the first search of pairs and
triples takes 52 s of processor time instead of 34 s.
"""

from typing import Any

import numpy as np
from numba import typeof, types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    register_model,
    unbox,
)


class ArrayStruct:
    """Hold a namedtuple of namedtuples of arrays. The arrays cannot be replaced."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts
        vars(self).update(parts._asdict())  # without compilation, kernels read these fields
        self._numba_type_ = ArrayStructType(typeof(parts))
        # numba's layout of an array: no owner, no parent, size, item size, data, shape, strides
        structs = [
            (0, 0, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides)
            for part in parts
            for array in part
        ]
        self.structs = np.concatenate(structs)
        self.address = self.structs.ctypes.data


class ArrayStructType(types.Type):
    """The numba type of an :class:`ArrayStruct`, or of a namedtuple in it."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts
        super().__init__(f"ArrayStructType({parts})")


register_model(ArrayStructType)(models.OpaqueModel)


@unbox(ArrayStructType)
def unbox_struct(_: types.Type, struct: Any, context: Any) -> NativeValue:
    """Return the pointer to an :class:`ArrayStruct`."""
    address = context.pyapi.object_getattr_string(struct, "address")
    pointer = context.pyapi.long_as_voidptr(address)
    context.pyapi.decref(address)
    return NativeValue(pointer)


@infer_getattr
class FieldTypes(AttributeTemplate):
    """Resolve the type of a field of an :class:`ArrayStruct` by its name."""

    key = ArrayStructType

    def generic_resolve(self, value: Any, attr: str) -> Any:  # type: ignore[override]
        """Return the type of a field."""
        part = dict(zip(value.parts.fields, value.parts.types))[attr]
        return ArrayStructType(part) if isinstance(part, types.NamedTuple) else part


@lower_getattr_generic(ArrayStructType)
def load_field(context: Any, builder: Any, struct: ArrayStructType, pointer: Any, name: str) -> Any:
    """Return a field of a struct: an array, or the pointer to a namedtuple."""
    kind = context.get_data_type(struct.parts).as_pointer()
    place = struct.parts.fields.index(name)
    field = cgutils.gep_inbounds(builder, builder.bitcast(pointer, kind), 0, place)
    if isinstance(struct.parts.types[place], types.NamedTuple):
        return builder.bitcast(field, cgutils.voidptr_t)
    return builder.load(field)
