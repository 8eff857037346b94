# SPDX-License-Identifier: Apache-2.0
"""PREFIX.bin, .idx, .mask and .json (doc/data.md): written under other names, renamed when all is on disk."""
import array
import json
import os
import sys
import zlib

from problem import Problem

END_BYTES = 1 << 20
SUFFIXES = (".idx", ".bin", ".mask", ".json")  # .idx goes first and comes last: without it there is no dataset


class Writer:
    def __init__(self, prefix, vocabulary, replace):
        self.prefix, self.vocabulary = prefix, vocabulary
        existing = [prefix + suffix for suffix in SUFFIXES if os.path.lexists(prefix + suffix)]
        if existing and not replace:
            raise Problem(f"{existing[0]}: is there already; expected another --output, or --force to replace it")
        folder = os.path.dirname(prefix) or "."
        if not os.path.isdir(folder):
            raise Problem(f"{folder}: there is no such folder for --output")
        self.small = vocabulary.size < 65500  # upstream's limit of u16
        self.type, self.code, self.item = ("H", 8, 2) if self.small else ("i", 4, 4)
        self.lengths, self.targets, self.masked = array.array("i"), 0, False
        self.smallest, self.largest, self.tokens = None, -1, 0
        self.files = {}
        try:
            for suffix in (".bin", ".mask"):
                self.files[suffix] = open(self.temporary(suffix), "wb")
        except OSError:
            self.discard()
            raise

    def temporary(self, suffix):
        return f"{self.prefix}{suffix}.tmp-{os.getpid()}"

    def add(self, ids, counts, masked):
        """A document: bytes of its ids (see pack) with their number and range, counts."""
        data, length, smallest, largest = ids
        self.files[".bin"].write(data)
        self.files[".mask"].write(counts)
        self.lengths.append(length)
        self.tokens += length
        self.targets += counts.count(1, 1)
        self.masked = self.masked or masked
        if length:
            self.smallest = smallest if self.smallest is None else min(self.smallest, smallest)
            self.largest = max(self.largest, largest)

    def finish(self, tokenizer):
        for file in self.files.values():
            flush(file)
        with open(self.temporary(".idx"), "wb") as index:
            self.write_index(index)
            flush(index)
        summary = {"format": "elastic.x dataset summary", "version": 1, "tokens": self.tokens,
                   "sequences": len(self.lengths), "documents": len(self.lengths), "targets": self.targets,
                   "smallest_id": self.smallest or 0, "largest_id": self.largest, "vocab_size": self.vocabulary.size,
                   "tokenizer": tokenizer, "bin_bytes": self.tokens * self.item,
                   "bin_crc32": crc32_of_ends(self.temporary(".bin")),
                   "mask_crc32": crc32_of_ends(self.temporary(".mask")) if self.masked else None}
        with open(self.temporary(".json"), "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=1)
            file.write("\n")
            flush(file)
        if not self.masked:
            os.remove(self.temporary(".mask"))
        for suffix in SUFFIXES:  # what --force replaces; a mask that is no longer true goes, too
            if os.path.lexists(self.prefix + suffix) and suffix in (".idx", ".mask"):
                os.remove(self.prefix + suffix)
        for suffix in reversed(SUFFIXES):
            if suffix != ".mask" or self.masked:
                os.replace(self.temporary(suffix), self.prefix + suffix)
        folder = os.open(os.path.dirname(self.prefix) or ".", os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return summary

    def write_index(self, index):
        count = len(self.lengths)
        index.write(b"MMIDIDX\0\0" + (1).to_bytes(8, "little") + bytes([self.code]) + count.to_bytes(8, "little") +
                    (count + 1).to_bytes(8, "little"))
        offset, offsets = 0, array.array("q")
        for length in self.lengths:
            offsets.append(offset)
            offset += length * self.item
        for numbers in (self.lengths, offsets, array.array("q", range(count + 1))):
            index.write(little_endian(numbers))

    def discard(self):
        for file in self.files.values():
            try:
                file.close()
            except OSError:
                pass  # a full disk, which is why
        for suffix in SUFFIXES:
            if os.path.lexists(self.temporary(suffix)):
                os.remove(self.temporary(suffix))


def pack(ids, small):
    """What Writer.add takes; made by the workers."""
    data = little_endian(array.array("H" if small else "i", ids))
    return data, len(ids), min(ids, default=0), max(ids, default=-1)


def little_endian(numbers):
    if sys.byteorder == "big":
        numbers = array.array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()


def flush(file):
    file.flush()
    os.fsync(file.fileno())
    file.close()


def crc32_of_ends(path):
    """Of the first, then of the last mebibyte; of a smaller file of all bytes twice."""
    size = os.path.getsize(path)
    part = min(size, END_BYTES)
    with open(path, "rb") as file:
        crc = zlib.crc32(file.read(part))
        file.seek(size - part)
        return zlib.crc32(file.read(part), crc)
