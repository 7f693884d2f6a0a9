# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the capture's arithmetic and files on small data; needs no model.

Run with: python3 -m unittest test_capture
"""

import tempfile
import unittest
from pathlib import Path

# Before numpy, as it sets the BLAS thread count.
import capture

import gguf
import numpy as np

import llama
import tensor_file
from errors import CaptureError


def random(*shape, seed=1):
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape).astype(np.float32)


class Rope(unittest.TestCase):
    def test_is_complex_rotation_of_adjacent_pairs(self):
        x = random(7, 2, 8)
        rotated = llama.rope(x, *llama.rope_tables(7, 8, 100.0))
        for t in range(7):
            for i in range(4):
                pair = x[t, :, 2 * i] + 1j * x[t, :, 2 * i + 1]
                pair = pair * np.exp(1j * t * 100.0 ** (-2 * i / 8))
                np.testing.assert_allclose(rotated[t, :, 2 * i], pair.real,
                                           atol=1e-6)
                np.testing.assert_allclose(rotated[t, :, 2 * i + 1],
                                           pair.imag, atol=1e-6)

    def test_score_depends_on_distance_only(self):
        tables = llama.rope_tables(9, 8, 100.0)
        query = llama.rope(np.repeat(random(1, 1, 8), 9, 0), *tables)[:, 0]
        key = llama.rope(np.repeat(random(1, 1, 8, seed=2), 9, 0),
                           *tables)[:, 0]
        self.assertAlmostEqual(float(query[3] @ key[1]),
                               float(query[8] @ key[6]), places=5)


class Dequantise(unittest.TestCase):
    def test_q4_1(self):
        scale, low = np.float16(0.25), np.float16(-1.5)
        packed = np.arange(16, dtype=np.uint8) * 17 + 1 & 0xFF
        block = np.concatenate([
            np.array([scale, low]).view(np.uint8), packed.astype(np.uint8)])
        values = gguf.quants.dequantize(
            block[None, :], gguf.GGMLQuantizationType.Q4_1).ravel()
        nibbles = np.concatenate([packed & 15, packed >> 4])
        np.testing.assert_array_equal(
            values, np.float32(scale) * nibbles + np.float32(low))

    def test_q8_0(self):
        scale = np.float16(0.125)
        stored = np.arange(-16, 16, dtype=np.int8) * 7
        block = np.concatenate([np.array([scale]).view(np.uint8),
                                stored.view(np.uint8)])
        values = gguf.quants.dequantize(
            block[None, :], gguf.GGMLQuantizationType.Q8_0).ravel()
        np.testing.assert_array_equal(
            values, np.float32(scale) * stored.astype(np.float32))


class Attention(unittest.TestCase):
    def test_chunked_grouped_causal(self):
        # More rows than one chunk, so that the chunk seam is crossed.
        tokens = llama.ROW_CHUNK + 3
        query = random(tokens, 6, 4).astype(np.float64)
        key = random(tokens, 2, 4, seed=2).astype(np.float64)
        value = random(tokens, 2, 4, seed=3).astype(np.float64)
        output = llama.attention(query, key, value, 0.5)
        for t in (0, 1, llama.ROW_CHUNK - 1, llama.ROW_CHUNK, tokens - 1):
            for head in range(6):
                weight = np.exp(0.5 * key[:t + 1, head // 3] @ query[t, head])
                expected = weight @ value[:t + 1, head // 3] / weight.sum()
                np.testing.assert_allclose(output[t, head], expected,
                                           rtol=1e-10, atol=1e-12)


class Safetensors(unittest.TestCase):
    def test_round_trip(self):
        array = random(3, 2, 4)
        for dtype, bound in (("f32", 0), ("f16", 2**-11), ("bf16", 2**-8)):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "x.safetensors"
                tensor_file.write_safetensors(
                    path, [("a", array), ("b", -array)], {"k": "v"}, dtype)
                tensors, metadata = tensor_file.read_safetensors(path)
                header = int.from_bytes(path.read_bytes()[:8], "little")
            self.assertEqual(metadata, {"k": "v"})
            self.assertEqual((8 + header) % 64, 0)
            np.testing.assert_allclose(tensors["a"], array, rtol=bound)
            np.testing.assert_allclose(tensors["b"], -array, rtol=bound)

    def test_bf16_ties_go_to_even(self):
        exact = np.array([0x3F808000, 0x3F818000], dtype=np.uint32)
        stored = tensor_file.to_bits(exact.view(np.float32), "bf16")
        bits = np.frombuffer(stored, dtype="<u2")
        self.assertEqual([hex(b) for b in bits], ["0x3f80", "0x3f82"])

    def test_out_of_range_is_refused(self):
        with self.assertRaises(CaptureError):
            tensor_file.to_bits(np.array([1e6], dtype=np.float32), "f16")
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaises(CaptureError):
                tensor_file.write_safetensors(
                    Path(folder) / "x", [("a", np.float32([np.nan]))], {},
                    "bf16")


class Layers(unittest.TestCase):
    def test_parse(self):
        self.assertEqual(capture.parse_layers("all", 3), [0, 1, 2])
        self.assertEqual(capture.parse_layers("2,0,2", 3), [0, 2])
        for text in ("3", "-1", "a", ""):
            with self.assertRaises(CaptureError):
                capture.parse_layers(text, 3)


if __name__ == "__main__":
    unittest.main()
