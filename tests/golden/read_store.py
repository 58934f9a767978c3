#!/usr/bin/env python3
"""Lists every record of a store's segments and checks every checksum on the way: headers, values, marks, trailers.

Written from src/format/FORMAT.md alone, with nothing but Python: a second reader of the format, so that document and
code cannot agree on a mistake. It reads only.

It stops at the first header of a segment that does not verify; looking for more behind it is left to fsck.

usage: read_store.py STORE        one line per segment, record and finding
       read_store.py --self-test  checks the checksum against FORMAT.md's table

Lines, separated by tabs (keys in hex):
  segment  ID  KIND  STATE  RECORDS          STATE: sealed, open
  record   SEQ  TYPE  KEY  RAW_LENGTH  CODEC  VALUE_CHECKSUM
  damage   FILE  OFFSET  TEXT
Exit: 0 all is sound, 1 damage was found, 2 this is no store that can be read.
"""
import os
import struct
import sys

MASK = (1 << 64) - 1
BLOCK = 4096

# ---- XXH3-64 with a seed (xxHash 0.8), from its specification ----

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d"
    "8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc"
    "8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
MX1, MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
STRIPE, SECRET_STEP, STRIPES_PER_BLOCK = 64, 8, 16


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def rotl(x, n):
    return (x << n | x >> (64 - n)) & MASK


def swap64(x):
    return int.from_bytes(x.to_bytes(8, "little"), "big")


def fold(a, b):
    product = a * b
    return (product & MASK) ^ (product >> 64)


def avalanche(h):
    h = (h ^ h >> 37) * MX1 & MASK
    return h ^ h >> 32


def avalanche_64(h):
    h = (h ^ h >> 33) * P64_2 & MASK
    h = (h ^ h >> 29) * P64_3 & MASK
    return h ^ h >> 32


def mix16(data, at, secret, secret_at, seed):
    low = u64(data, at) ^ (u64(secret, secret_at) + seed & MASK)
    high = u64(data, at + 8) ^ (u64(secret, secret_at + 8) - seed & MASK)
    return fold(low, high)


def xxh3_up_to_16(data, seed):
    n = len(data)
    if n > 8:
        low = u64(data, 0) ^ ((u64(SECRET, 24) ^ u64(SECRET, 32)) + seed & MASK)
        high = u64(data, n - 8) ^ ((u64(SECRET, 40) ^ u64(SECRET, 48)) - seed & MASK)
        return avalanche(n + swap64(low) + high + fold(low, high) & MASK)
    if n >= 4:
        seed ^= int.from_bytes((seed & 0xFFFFFFFF).to_bytes(4, "little"), "big") << 32
        flip = (u64(SECRET, 8) ^ u64(SECRET, 16)) - seed & MASK
        h = (u32(data, n - 4) + (u32(data, 0) << 32)) ^ flip
        h ^= rotl(h, 49) ^ rotl(h, 24)
        h = h * MX2 & MASK
        h ^= (h >> 35) + n
        h = (h & MASK) * MX2 & MASK
        return h ^ h >> 28
    if n > 0:
        mixed = data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8
        return avalanche_64(mixed ^ ((u32(SECRET, 0) ^ u32(SECRET, 4)) + seed & MASK))
    return avalanche_64(seed ^ u64(SECRET, 56) ^ u64(SECRET, 64))


def xxh3_up_to_240(data, seed):
    n = len(data)
    acc = n * P64_1
    if n <= 128:
        for i in reversed(range((n - 1) // 32 + 1)):
            acc += mix16(data, 16 * i, SECRET, 32 * i, seed)
            acc += mix16(data, n - 16 * (i + 1), SECRET, 32 * i + 16, seed)
        return avalanche(acc & MASK)
    for i in range(8):
        acc += mix16(data, 16 * i, SECRET, 16 * i, seed)
    acc = avalanche(acc & MASK)
    for i in range(8, n // 16):
        acc += mix16(data, 16 * i, SECRET, 16 * (i - 8) + 3, seed)
    acc += mix16(data, n - 16, SECRET, 136 - 17, seed)
    return avalanche(acc & MASK)


def xxh3_long(data, seed):
    secret = SECRET
    if seed:
        words = struct.unpack("<24Q", SECRET)
        secret = struct.pack("<24Q", *((w + (seed if i % 2 == 0 else -seed)) & MASK for i, w in enumerate(words)))
    keys = [struct.unpack_from("<8Q", secret, SECRET_STEP * i) for i in range(STRIPES_PER_BLOCK)]
    scramble = struct.unpack_from("<8Q", secret, len(secret) - STRIPE)
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]

    def accumulate(at, key):
        lanes = struct.unpack_from("<8Q", data, at)
        for i in range(8):
            mixed = lanes[i] ^ key[i]
            acc[i ^ 1] += lanes[i]
            acc[i] += (mixed & 0xFFFFFFFF) * (mixed >> 32)
        for i in range(8):
            acc[i] &= MASK

    stripes = (len(data) - 1) // STRIPE
    for stripe in range(stripes):
        accumulate(STRIPE * stripe, keys[stripe % STRIPES_PER_BLOCK])
        if stripe % STRIPES_PER_BLOCK == STRIPES_PER_BLOCK - 1:
            for i in range(8):
                acc[i] = (acc[i] ^ acc[i] >> 47 ^ scramble[i]) * P32_1 & MASK
    accumulate(len(data) - STRIPE, struct.unpack_from("<8Q", secret, len(secret) - STRIPE - 7))
    result = len(data) * P64_1
    for i in range(4):
        result += fold(acc[2 * i] ^ u64(secret, 11 + 16 * i), acc[2 * i + 1] ^ u64(secret, 19 + 16 * i))
    return avalanche(result & MASK)


def xxh3(data, seed=0):
    if len(data) <= 16:
        return xxh3_up_to_16(data, seed)
    return xxh3_up_to_240(data, seed) if len(data) <= 240 else xxh3_long(data, seed)


def place_seed(salt, number, offset):
    return xxh3(struct.pack("<3Q", salt, number, offset))


# ---- The structures ----

EMPTY_CHECKSUM = 0x2D06800538D394C2
KINDS = {1: "log", 2: "compacted", 3: "extent"}
TYPES = {1: "put", 2: "erase", 3: "extent", 4: "mark", 5: "piece"}
CODECS = {0: "none", 1: "lz4", 2: "zstd"}
PUT, ERASE, EXTENT, MARK, PIECE = 1, 2, 3, 4, 5
MARK_RECORD = 120


class Bad(Exception):
    """Bytes that do not verify or make no sense."""


def need(condition, what):
    if not condition:
        raise Bad(what)


def zero(data):
    return not any(data)


def check_version(version):
    need(version != 0, "version 0")
    need(version <= 1, f"version {version} is newer than this reader")


def superblock(data):
    need(len(data) >= 128, "superblock: cut short")
    need(data[:8] == b"CAIRNFS1", "superblock: wrong magic")
    version, size = struct.unpack_from("<2I", data, 8)
    check_version(version)
    need(u64(data, 120) == xxh3(data[:120]), "superblock: checksum mismatch")
    mode, codec, level = data[32:35]
    segment, chunk, limit = struct.unpack_from("<3Q", data, 40)
    need(size == 128 and zero(data[35:40]) and zero(data[72:120]) and zero(data[128:]), "superblock: unused bytes")
    need(mode <= 1 and codec <= 2 and (1 <= level <= 19 if codec == 2 else level == 0), "superblock: mode or codec")
    need(segment % BLOCK == 0 and 1 << 16 <= segment <= 1 << 30, "superblock: segment size")
    need(chunk & chunk - 1 == 0 and BLOCK <= chunk <= segment // 8, "superblock: chunk size")
    need((mode == 0) == (limit != 0), "superblock: limit")
    return {"uuid": data[16:32], "mode": mode, "segment_size": segment}


def segment_header(data):
    need(len(data) >= 512, "segment header: cut short")
    data = data[:512]
    need(data[:8] == b"CIRNSEG1", "segment header: wrong magic")
    check_version(u32(data, 8))
    need(u64(data, 504) == xxh3(data[:504]), "segment header: checksum mismatch")
    kind, prepared = data[12], data[13]
    names = ("id salt previous_id previous_mark previous_mark_offset previous_mark_checksum first_seq last_seq next_ino "
             "proven_id").split()
    h = dict(zip(names, struct.unpack_from("<10Q", data, 16)), kind=kind, prepared=prepared, generation=u32(data, 96))
    need(zero(data[14:16]) and zero(data[100:128]) and zero(data[256:504]), "segment header: unused bytes")
    need(kind in KINDS and prepared <= 1 and h["id"] > 0, "segment header: kind or id")
    if kind == 1:
        need(h["previous_id"] < h["id"] and h["proven_id"] < h["id"], "segment header: predecessor is not older")
        need(h["previous_mark_offset"] % 8 == 0 and (h["first_seq"] > 0 or prepared), "segment header: chain")
    else:
        need(not any(h[n] for n in names[2:6]), "segment header: predecessor outside the log")
    if kind == 2:
        need(0 < h["first_seq"] <= h["last_seq"] and h["generation"] > 0, "segment header: range")
    else:
        need(h["last_seq"] == 0 and h["generation"] == 0, "segment header: fields of another kind")
    h["superblock"] = superblock(data[128:256])
    return h


def record_at(data, offset, header):
    """The record at `offset`: header and key verify, everything else is judged by the caller."""
    need(offset + 40 <= len(data), "record header: cut short")
    checksum, value_checksum, seq, stored, raw = struct.unpack_from("<3Q2I", data, offset)
    key_length, kind, codec, flags = struct.unpack_from("<H3B", data, offset + 32)
    key_end = offset + 40 + key_length
    need(key_length <= 1024 and key_end <= len(data), "record header: key length")
    seed = place_seed(header["salt"], header["id"], offset)
    need(checksum == xxh3(data[offset + 8:key_end], seed), "record header: checksum mismatch")
    need(zero(data[offset + 37:offset + 40]), "record header: unused bytes")
    need(kind in TYPES and codec in CODECS and flags <= 3, "record header: type, codec or flags")
    need(raw <= 256 << 20 and (stored == raw if codec == 0 else stored < raw), "record header: lengths")
    need(kind != ERASE or raw == 0, "record header: erase with a value")
    need(kind != EXTENT or (codec, raw) == (0, 32), "record header: extent pointer")
    need(kind != MARK or (codec, raw, key_length) == (0, 80, 0), "record header: mark")
    need(seq > 0 or kind >= MARK, "record header: sequence number 0")
    value_end = key_end + stored
    return {"offset": offset, "checksum": checksum, "value_checksum": value_checksum, "seq": seq, "type": kind,
            "codec": codec, "flags": flags, "raw": raw, "key": data[offset + 40:key_end], "value": data[key_end:value_end],
            "whole": value_end <= len(data), "value_end": value_end, "end": -(-value_end // 8) * 8}


def mark_of(record):
    need(record["whole"] and record["value_checksum"] == xxh3(record["value"]), "commit mark: checksum mismatch")
    names = "number first last records previous_offset previous_checksum durable next_ino start unused".split()
    m = dict(zip(names, struct.unpack("<10Q", record["value"])), offset=record["offset"], checksum=record["checksum"])
    need(m["unused"] == 0 and m["number"] > 0, "commit mark: unused bytes or number")
    need(m["first"] > 0 and m["last"] >= m["first"] - 1, "commit mark: sequence range")
    need(m["start"] >= BLOCK and m["start"] % BLOCK == 0 and m["start"] <= m["offset"], "commit mark: start")
    need(m["previous_offset"] % 8 == 0 and m["previous_offset"] < m["start"], "commit mark: previous mark")
    need(m["durable"] <= m["start"], "commit mark: calls itself durable")
    return m


def trailer_of(data, header):
    need(len(data) >= 256, "trailer: cut short")
    offset = len(data) - 256
    t = data[offset:]
    need(t[:8] == b"CIRNTAB1", "trailer: wrong magic")
    check_version(u32(t, 8))
    names = ("id salt base filter_offset filter_length index_offset index_length entries erases first last record_bytes "
             "last_mark last_mark_offset last_mark_checksum next_ino").split()
    out = dict(zip(names, struct.unpack_from("<16Q", t, 16)))
    need(u64(t, 248) == xxh3(t[:248], place_seed(out["salt"], out["id"], offset)), "trailer: checksum mismatch")
    need(t[12] == 1 and zero(t[13:16]) and zero(t[144:248]), "trailer: kind or unused bytes")
    need((out["id"], out["salt"]) == (header["id"], header["salt"]), "trailer: of another segment")
    need(BLOCK <= out["base"] <= offset and out["base"] % BLOCK == 0, "trailer: base")
    need(out["base"] <= out["index_offset"] <= offset - out["index_length"], "trailer: index block")
    need(out["first"] > 0 and out["last"] >= out["first"] - 1, "trailer: sequence range")
    for name in ("filter", "index"):
        begin, length = out[name + "_offset"], out[name + "_length"]
        if name == "filter" and length == 0:
            continue
        need(length >= 8 and out["base"] <= begin and begin + length <= offset, f"trailer: {name} block")
        block = data[begin:begin + length]
        need(u64(block, length - 8) == xxh3(block[:-8], place_seed(out["salt"], out["id"], begin)),
             f"{name} block: checksum mismatch")
    return out


# ---- Segments ----


class Segment:
    def __init__(self, path, name, uuid, report):
        with open(path, "rb") as file:
            self.data = file.read()
        self.name, self.report = name, report
        self.records, self.marks = [], []
        self.header = self.read_header(uuid)
        need(name == f"{self.header['id']:016x}.seg", "segment header: id is not that of the name")
        self.trailer = None
        try:
            self.trailer = trailer_of(self.data, self.header)
        except Bad as bad:
            # An open segment has none. One that is there and damaged must not pass for none.
            if self.data[-256:-248] == b"CIRNTAB1":
                report(name, len(self.data) - 256, str(bad))

    def read_header(self, uuid):
        copies, errors = [], []
        for offset in (0, 2048):
            try:
                copies.append(segment_header(self.data[offset:offset + 512]))
            except Bad as bad:
                errors.append((offset, str(bad)))
        if not copies:
            raise Bad(errors[0][1])
        for offset, text in errors:
            self.report(self.name, offset, text)
        header = min(copies, key=lambda copy: copy["prepared"])
        need(uuid is None or header["superblock"]["uuid"] == uuid, "segment header: of another store")
        return header

    def state(self):
        if self.trailer:
            return "sealed"
        return "open" if self.header["kind"] == 1 else "extent" if self.header["kind"] == 3 else "unsealed"

    def damage(self, offset, text):
        self.report(self.name, offset, text)

    def read(self):
        if self.header["prepared"]:
            return
        if self.header["kind"] != 1:
            self.read_plain(self.trailer["base"] if self.trailer else len(self.data))
        elif self.trailer:
            self.read_commits(self.trailer["base"], sealed=True)
        else:
            self.read_commits(len(self.data), sealed=False)
        if self.trailer:
            self.compare_with_trailer()

    def check_record(self, record, must_verify=True):
        """Value and padding; returns whether the value verifies. Where nothing is proven a bad one ends the log."""
        sound = record["whole"] and record["value_checksum"] == xxh3(record["value"])
        need(sound or must_verify, f"value of record seq={record['seq']}")
        if not sound:
            self.damage(record["offset"], f"value of record seq={record['seq']}")
        if not zero(self.data[record["value_end"]:record["end"]]):
            self.damage(record["value_end"], "padding")
        return sound

    def find_record(self, offset, end):
        while offset < end:
            # No record has these bytes otherwise; the checksum is only asked where it may be one.
            if zero(self.data[offset + 37:offset + 40]) and self.data[offset + 34:offset + 35] not in (b"", b"\0"):
                try:
                    record_at(self.data, offset, self.header)
                    return offset
                except Bad:
                    pass
            offset += 8
        return end

    def read_commits(self, end, sealed):
        header = self.header
        last = {"number": header["previous_mark"], "checksum": header["previous_mark_checksum"], "offset": 0,
                "last": header["first_seq"] - 1}
        position = BLOCK
        while position < end:
            try:
                records, mark, after = self.commit_at(position, last)
            except Bad as bad:
                if not sealed:
                    self.tail(position, end, str(bad))
                    return
                self.damage(position, str(bad))
                return
            if sealed and not zero(self.data[mark["offset"] + MARK_RECORD:after]):
                self.damage(mark["offset"] + MARK_RECORD, "padding of a commit")
            self.records += records
            self.marks.append(mark)
            last = dict(mark, last=max(last["last"], mark["last"]))
            position = after
        need(not sealed or position == end, "the last commit reaches beyond the records' end")

    def commit_at(self, start, last):
        records, sums, position = [], b"", start
        while True:
            record = record_at(self.data, position, self.header)
            need(record["type"] <= MARK, "piece of an extent in the log")
            if record["type"] == MARK:
                break
            if self.check_record(record, self.trailer is not None):
                records.append(record)
            sums += struct.pack("<Q", record["checksum"])
            position = record["end"]
        mark = mark_of(record)
        need(mark["start"] == start and mark["records"] == xxh3(sums), "commit mark: does not fit its commit")
        sequence = [last["last"]] + [r["seq"] for r in records]
        need(all(a < b for a, b in zip(sequence, sequence[1:])), "sequence numbers do not ascend")
        need(not records or mark["first"] <= sequence[1] and sequence[-1] <= mark["last"], "commit mark: range")
        need(mark["number"] == last["number"] + 1 and mark["previous_checksum"] == last["checksum"] and
             mark["previous_offset"] == last["offset"], "commit mark: does not continue the chain")
        return records, mark, -(-record["end"] // BLOCK) * BLOCK

    def tail(self, position, end, reason):
        """What lies behind the last complete commit: damage only if a mark further on says that it was durable."""
        offset = self.find_record(position, end)
        while offset < end:
            record = record_at(self.data, offset, self.header)
            try:
                if record["type"] == MARK and mark_of(record)["durable"] > position:
                    self.damage(position, reason)
                    return
            except Bad:
                pass
            offset = self.find_record(record["end"], end)

    def read_plain(self, end):
        """Compacted segments and extents: records, and zeros where nothing is."""
        position = BLOCK
        while position < end:
            following = self.find_record(position, end)
            if not zero(self.data[position:following]) and (self.trailer or following < end):
                self.damage(position, "bytes that are no record")
            if following == end:
                break
            record = record_at(self.data, following, self.header)
            in_range = self.header["first_seq"] <= record["seq"] <= self.header["last_seq"]
            if self.header["kind"] == 2 and (record["type"] > EXTENT or not in_range):
                self.damage(following, "record that does not belong here")
            elif self.check_record(record):
                self.records.append(record)
            position = record["end"]

    def compare_with_trailer(self):
        t = self.trailer
        size = sum(-(-(40 + len(r["key"]) + len(r["value"])) // 8) * 8 for r in self.records)
        erases = sum(r["type"] == ERASE for r in self.records)
        if (t["entries"], t["erases"], t["record_bytes"]) != (len(self.records), erases, size):
            self.damage(len(self.data) - 256, f"trailer counts {t['entries']} records, {t['erases']} erases, "
                        f"{t['record_bytes']} bytes; there are {len(self.records)}, {erases}, {size}")
        if any(not t["first"] <= r["seq"] <= t["last"] for r in self.records):
            self.damage(len(self.data) - 256, "trailer: a record lies outside its range")
        if self.marks:
            m = self.marks[-1]
            if (t["last_mark"], t["last_mark_offset"], t["last_mark_checksum"]) != (m["number"], m["offset"], m["checksum"]):
                self.damage(len(self.data) - 256, "trailer names another last mark")


def read_store(path, out):
    damaged = False

    def report(name, offset, text):
        nonlocal damaged
        damaged = True
        print("damage", name, offset, text, sep="\t", file=out)

    uuid = None
    try:
        with open(os.path.join(path, "superblock"), "rb") as file:
            data = file.read()
        need(len(data) == BLOCK, "superblock: is not 4096 bytes")
        uuid = superblock(data)["uuid"]
    except (OSError, Bad) as error:
        report("superblock", 0, str(error))
    for name in sorted(os.listdir(os.path.join(path, "segments"))):
        try:
            segment = Segment(os.path.join(path, "segments", name), name, uuid, report)
            segment.read()
        except (OSError, Bad) as error:
            report(name, 0, str(error))
            continue
        h = segment.header
        print("segment", f"{h['id']:016x}", KINDS[h["kind"]], segment.state(), len(segment.records), sep="\t", file=out)
        for r in segment.records:
            print("record", r["seq"], TYPES[r["type"]], r["key"].hex(), r["raw"], CODECS[r["codec"]],
                  f"{r['value_checksum']:016x}", sep="\t", file=out)
    return 1 if damaged else 0


def self_test():
    vectors = [(b"", 0, EMPTY_CHECKSUM), (b"a", 0, 0xE6C632B61E964E1F), (b"abc", 0, 0x78AF5F94892F3950),
               (b"abc", 1, 0x6B4467B443C76228), (bytes(1000), 7, 0xC2DDEF83D105C947)]
    for data, seed, expected in vectors:
        if xxh3(data, seed) != expected:
            print(f"xxh3 of {len(data)} bytes, seed {seed}: {xxh3(data, seed):016x}, not {expected:016x}")
            return 1
    if place_seed(0x5A17000000000007, 7, 4096) != 0x0CD97FE8F241E2A2:
        print("place_seed differs")
        return 1
    return 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) != 1 or not os.path.isdir(os.path.join(arguments[0], "segments")):
        print(__doc__, file=sys.stderr)
        return 2
    return read_store(arguments[0], sys.stdout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
