"""Torch files made opcode by opcode, so that they can hold what torch never writes."""

import io
import struct
import zipfile

import numpy as np

CLASSES = {
    "float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage", "bool": "BoolStorage", "uint8": "ByteStorage",
}  # fmt: skip
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def text(value):
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    if len(data) < 256:
        return b"\x8a" + bytes([len(data)]) + data
    return b"\x8b" + struct.pack("<I", len(data)) + data


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def many(*parts):
    return b"(" + b"".join(parts) + b"t"


def mapping(fields):
    """A dictionary from names to values that are pickled already."""
    return b"}(" + b"".join(text(name) + value for name, value in fields.items()) + b"u"


def plain(value):
    """Numbers, text, lists and dictionaries."""
    if isinstance(value, dict):
        return mapping({name: plain(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return b"](" + b"".join(map(plain, value)) + b"e"
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    return text(value) if isinstance(value, str) else number(value)


def storage(key, dtype, size, legacy=False):
    parts = [text("storage"), named("torch", CLASSES[dtype]), text(key), text("cpu"), number(size)]
    return many(*parts, *([b"N"] if legacy else [])) + b"Q"


def tensor(key, dtype, size, shape, strides=None, offset=0, legacy=False, bits=None):
    """`_rebuild_tensor_v2(storage, offset, shape, strides, False, OrderedDict(), bits)`."""
    if strides is None:
        strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    return (
        named("torch._utils", "_rebuild_tensor_v2")
        + many(
            storage(key, dtype, size, legacy),
            number(offset),
            many(*map(number, shape)),
            many(*map(number, strides)),
            b"\x89",
            named("collections", "OrderedDict") + b")R",
            *([plain(bits)] if bits else []),
        )
        + b"R"
    )


def pickled(value):
    return b"\x80\x02" + value + b"."


def archive(value, storages, compression=zipfile.ZIP_STORED, root="archive"):
    """A file of torch 1.6 or later: a pickled value, and the bytes of its storages by key."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr(f"{root}/data.pkl", pickled(value))
        made.writestr(f"{root}/byteorder", "little")
        for key, data in storages.items():
            made.writestr(f"{root}/data/{key}", data)
        made.writestr(f"{root}/version", "3\n")
    return file.getvalue()


def stream(value, storages):
    """A file of before torch 1.6. The storages are `key: (numbers, bytes)`."""
    begin = [plain(MAGIC), plain(PROTOCOL), plain({"little_endian": True}), value]
    keys = plain(list(storages))
    parts = [struct.pack("<q", count) + data for count, data in storages.values()]
    return b"".join(map(pickled, [*begin, keys])) + b"".join(parts)


def saved(arrays, legacy=False, entries=None, inside=None):
    """The file that `torch.save` makes of named arrays, inside of an entry if one is named."""
    fields, storages = {}, {}
    for key, (name, array) in enumerate(arrays.items()):
        key, dtype = str(key), array.dtype.name
        fields[name] = tensor(key, dtype, array.size, array.shape, legacy=legacy)
        data = np.ascontiguousarray(array).tobytes()
        storages[key] = (array.size, data) if legacy else data
    value = mapping(fields)
    if inside:
        value = mapping({name: plain(v) for name, v in (entries or {}).items()} | {inside: value})
    return stream(value, storages) if legacy else archive(value, storages)
