"""Small writers of the authors' file formats, so that the readers are tested without them.

`test_their_writers.py` tests the readers on what the authors' libraries write.
"""

import struct

import ml_dtypes
import numpy as np

# tensorflow/core/framework/types.proto
TF_TYPES = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "int64": 9,
    "bool": 10, "bfloat16": 14, "uint16": 17, "float16": 19, "uint32": 22, "uint64": 23,
}  # fmt: skip


def arrays(seed=0):
    """Arrays of many shapes and kinds, by name."""
    random = np.random.default_rng(seed)
    made = {f"layer_{i}/attention/kernel": random.normal(size=(3, 5)) for i in range(12)}
    made |= {"scalar": np.array(7), "empty": np.zeros((0, 4)), "half": np.ones((2, 2))}
    kinds = {"scalar": "int64", "half": ml_dtypes.bfloat16}
    return {name: a.astype(kinds.get(name, "float32")) for name, a in made.items()}


def complaint(call, kind):
    """Return the message of a call's error of this class; None where there is no error."""
    try:
        call()
    except kind as error:
        return str(error)
    return None


# --- TensorFlow's tensor bundle ----------------------------------------------------------------


def varint(value):
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def field(number, value):
    """A field of a protocol buffers message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def crc32c(data):
    """Compute CRC-32C by polynomial division, bit for bit; the reader has a table."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(crc):
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def block(entries, every=16):
    """A block of a sorted table, each key stored as what it adds to the one before."""
    out, restarts, before = b"", [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        before = key
    restarts = restarts or [0]
    return out + b"".join(struct.pack("<I", n) for n in (*restarts, len(restarts)))


def table(entries, size=300, compression=0):
    """A sorted table in blocks of about `size` bytes."""
    out, handles = b"", []

    def add(content):
        nonlocal out
        handle = varint(len(out)) + varint(len(content))
        content += bytes([compression])
        out += content + struct.pack("<I", masked(crc32c(content)))
        return handle

    group = []
    for key, value in sorted(entries.items()):
        group.append((key, value))
        if len(block(group)) >= size:
            handles.append((key, add(block(group))))
            group = []
    if group:
        handles.append((group[-1][0], add(block(group))))
    meta = add(block([]))
    index = add(block(handles, every=1))
    footer = (meta + index).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    return out + footer


def entry(array, begin, shard=0):
    """A BundleEntryProto; zeros are left out, as protocol buffers have it."""
    shape = b"".join(field(2, field(1, n) if n else b"") for n in array.shape)
    message = field(1, TF_TYPES[array.dtype.name]) + field(2, shape)
    for number, value in ((3, shard), (4, begin), (5, array.nbytes)):
        message += field(number, value) if value else b""
    return message + varint(6 << 3 | 5) + struct.pack("<I", masked(crc32c(array.tobytes())))


def bundle(tensors, shards=1):
    """The bytes of a bundle's index and of its data files."""
    data = [b""] * shards
    entries = {b"": field(1, shards) + field(3, field(1, 1))}
    for i, (name, array) in enumerate(sorted(tensors.items())):
        entries[name.encode()] = entry(array, len(data[i % shards]), i % shards)
        data[i % shards] += array.tobytes()
    return table(entries), data


def write_bundle(prefix, tensors, shards=1):
    index, data = bundle(tensors, shards)
    prefix.with_name(f"{prefix.name}.index").write_bytes(index)
    for i, content in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{i:05}-of-{shards:05}").write_bytes(content)


# --- Flax's MessagePack ------------------------------------------------------------------------


def pack(value):
    """MessagePack of trees of arrays, as flax.serialization writes it."""
    if isinstance(value, dict):
        head = struct.pack(">BH", 0xDE, len(value))
        return head + b"".join(pack(k) + pack(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return struct.pack(">BH", 0xDC, len(value)) + b"".join(map(pack, value))
    if isinstance(value, str):
        data = value.encode()
        return struct.pack(">BB", 0xD9, len(data)) + data
    if isinstance(value, bytes):
        return struct.pack(">BI", 0xC6, len(value)) + value
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return struct.pack(">Bq", 0xD3, value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    content = pack([list(value.shape), value.dtype.name, value.tobytes()])
    return struct.pack(">BIb", 0xC9, len(content), 1) + content


def chunked(array, size):
    """An array cut in pieces, as Flax does it to those of more than a gigabyte."""
    flat = array.reshape(-1)
    pieces = [flat[i : i + size] for i in range(0, flat.size, size)]
    return {
        "__msgpack_chunked_array__": True,
        "shape": {str(i): n for i, n in enumerate(array.shape)},
        "chunks": {str(i): piece for i, piece in enumerate(pieces)},
    }


def nested(tensors):
    """A tree of the names' parts."""
    tree = {}
    for name, array in tensors.items():
        *above, last = name.split("/")
        branch = tree
        for part in above:
            branch = branch.setdefault(part, {})
        branch[last] = array
    return tree


# --- CTranslate2's model.bin -------------------------------------------------------------------

CT2_TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")


def ct2_text(text):
    data = text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def ctranslate2(variables, aliases=None, spec="WhisperSpec", revision=3, version=6):
    """The bytes of a CTranslate2 model, as `ModelSpec._serialize` writes it."""
    out = struct.pack("<I", version) + ct2_text(spec) + struct.pack("<II", revision, len(variables))
    for name, value in sorted(variables.items()):
        array = np.asarray(value)
        out += ct2_text(name) + struct.pack("<B", array.ndim)
        out += b"".join(struct.pack("<I", n) for n in array.shape)
        out += struct.pack("<BI", CT2_TYPES.index(array.dtype.name), array.nbytes) + array.tobytes()
    out += struct.pack("<I", len(aliases or {}))
    return out + b"".join(ct2_text(a) + ct2_text(n) for a, n in (aliases or {}).items())
