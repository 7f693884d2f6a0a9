# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what a case is read as, on small data.

Run with: python3 -m unittest test_onnx_cases
"""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

from onnx_cases import Case, CaseError, mask_of, read
from tensor_file import write_safetensors


def case(shapes, attributes=(), dtype=np.float32, outputs=(), **inputs):
    tensors = {name: np.zeros(shape, dtype)
               for name, shape in zip("QKV", shapes)}
    return Case(dict(attributes), tensors | inputs,
                {"Y": np.zeros(1)} | dict(outputs))


def problem(*args, **inputs):
    return read(case(*args, **inputs)).problem


FLAT = ((2, 4, 72), (2, 6, 24), (2, 6, 30))
HEADS = ((2, 9, 4, 8), (2, 3, 6, 8), (2, 3, 6, 10))
NAME = "b2_h9_kv3_d8_dv10_q4_k6_f32"


class Mask(unittest.TestCase):
    def test_leads_with_axes_of_one(self):
        self.assertEqual(mask_of(np.ones((4, 6), bool), 6).shape, (1, 1, 4, 6))
        self.assertEqual(mask_of(np.ones(6, bool), 6).shape, (1, 1, 1, 6))
        self.assertEqual(mask_of(np.ones((3, 4, 6)), 6).shape, (1, 3, 4, 6))

    def test_hides_what_a_short_mask_leaves_out(self):
        mask = mask_of(np.ones((4, 3), bool), 6)
        self.assertEqual(mask[0, 0, 0].tolist(), [True] * 3 + [False] * 3)
        mask = mask_of(np.zeros((4, 3), np.float32), 6)
        self.assertEqual(mask[0, 0, 0].tolist(), [0.0] * 3 + [-np.inf] * 3)


class Problem(unittest.TestCase):
    def test_reads_both_layouts(self):
        heads = {"q_num_heads": 9, "kv_num_heads": 3}
        self.assertEqual(problem(FLAT, heads), NAME)
        self.assertEqual(problem(HEADS), NAME)

    def test_reads_attributes(self):
        self.assertEqual(
            problem(HEADS, {"is_causal": 1, "softcap": 2.0,
                            "left_window_size": 2, "right_window_size": -1,
                            "scale": 0.009999999776482582}),
            NAME + "_causal_off0_wl2_cap2_scale0.01")

    def test_reads_types(self):
        self.assertEqual(problem(HEADS, dtype=np.float16),
                         NAME.replace("f32", "f16"))

    def test_places_queries_behind_a_cache(self):
        past = {"past_key": np.ones((2, 3, 12, 8)),
                "past_value": np.ones((2, 3, 12, 10))}
        present = {"present_key": np.zeros((2, 3, 18, 8)),
                   "present_value": np.zeros((2, 3, 18, 10))}
        for array in present.values():
            array[:, :, :12] = 1
        made = read(case(HEADS, {"is_causal": 1}, outputs=present, **past))
        self.assertEqual(made.problem,
                         NAME.replace("k6", "k18") + "_causal_off12")
        self.assertEqual(made.tensors["key"].shape, (2, 3, 18, 8))
        present["present_key"][0, 0, 0, 0] = 2
        with self.assertRaises(CaseError):
            read(case(HEADS, outputs=present, **past))


class Text(unittest.TestCase):
    def test_gives_every_sequence_its_length_and_place(self):
        lengths = np.array([3, 6])
        made = read(case(HEADS, nonpad_kv_seqlen=lengths))
        self.assertEqual(made.text, {"seqlens_k": "3,6"})
        made = read(case(HEADS, {"is_causal": 1}, nonpad_kv_seqlen=lengths))
        self.assertEqual(made.text, {"seqlens_k": "3,6",
                                     "causal_offset": "-1,2"})
        self.assertEqual(made.problem, NAME + "_causal")

    def test_tells_masks_from_numbers(self):
        made = read(case(HEADS, attn_mask=np.ones((4, 6), bool)))
        self.assertEqual(made.text, {"mask": "mask"})
        made = read(case(HEADS, attn_mask=np.ones((4, 6), np.float32)))
        self.assertEqual(made.text, {"mask": "bias"})

    def test_keeps_scores(self):
        scores = {"qk_matmul_output": np.ones((2, 9, 4, 6))}
        made = read(case(HEADS, {"qk_matmul_output_mode": 3}, outputs=scores))
        self.assertEqual(made.text, {"scores": "3"})
        self.assertIn("scores", made.tensors)


class TensorFile(unittest.TestCase):
    def test_is_aligned_and_whole(self):
        array = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.safetensors"
            write_safetensors(path, [("b", array), ("a", -array)], {"k": "v"})
            data = path.read_bytes()
        begin = 8 + int.from_bytes(data[:8], "little")
        self.assertEqual(begin % 64, 0)
        header = json.loads(data[8:begin])
        self.assertEqual(header.pop("__metadata__"), {"k": "v"})
        self.assertEqual(list(header), ["b", "a"])
        for name, expected in (("b", array), ("a", -array)):
            first, last = header[name]["data_offsets"]
            got = np.frombuffer(data[begin + first:begin + last], "<f4")
            np.testing.assert_array_equal(
                got.reshape(header[name]["shape"]), expected)

    def test_refuses_what_is_not_finite(self):
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaises(ValueError):
                write_safetensors(Path(folder) / "x",
                                  [("a", np.float32([np.nan]))], {})


if __name__ == "__main__":
    unittest.main()
