# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what a case is read as, on small data.

Run with: python3 -m unittest test_onnx_cases
"""

import unittest

import numpy as np

from onnx_cases import Case, CaseError, keys_offered, problem, why_not


def case(shapes, attributes=(), dtype=np.float32, **inputs):
    tensors = {name: np.zeros(shape, dtype)
               for name, shape in zip("QKV", shapes)}
    return Case(dict(attributes), tensors | inputs, {"Y": None})


FLAT = ((2, 4, 72), (2, 6, 24), (2, 6, 30))
HEADS = ((2, 9, 4, 8), (2, 3, 6, 8), (2, 3, 6, 10))


class KeysOffered(unittest.TestCase):
    def test_counts_leading_keys(self):
        self.assertEqual(keys_offered(np.ones((4, 6), bool), 6), 6)
        self.assertEqual(keys_offered(np.ones((2, 1, 4, 3), bool), 6), 3)
        self.assertEqual(keys_offered(np.zeros((4, 6), bool), 6), 0)
        mask = np.zeros((4, 6), np.float32)
        mask[:, 4:] = -np.inf
        self.assertEqual(keys_offered(mask, 6), 4)

    def test_refuses_anything_else(self):
        self.assertIsNone(keys_offered(np.full((4, 6), 0.5), 6))
        self.assertIsNone(keys_offered(np.full((4, 6), np.nan), 6))
        self.assertIsNone(keys_offered(np.tri(4, 6, dtype=bool), 6))
        mask = np.ones((4, 6), bool)
        mask[:, 0] = False
        self.assertIsNone(keys_offered(mask, 6))
        mask = np.ones((4, 6), bool)
        mask[3, 5] = False
        self.assertIsNone(keys_offered(mask, 6))


class Problem(unittest.TestCase):
    def test_reads_both_layouts(self):
        heads = {"q_num_heads": 9, "kv_num_heads": 3}
        for made in (case(FLAT, heads), case(HEADS)):
            self.assertEqual(problem(made), "b2_h9_kv3_d8_dv10_q4_k6_f32")

    def test_reads_attributes(self):
        made = case(HEADS, {"is_causal": 1, "softcap": 2.0,
                            "scale": 0.009999999776482582})
        self.assertEqual(problem(made), "b2_h9_kv3_d8_dv10_q4_k6_f32"
                                        "_causal_off0_cap2_scale0.01")

    def test_hides_the_last_keys(self):
        mask = np.arange(6) < np.full((4, 1), 5)
        self.assertEqual(problem(case(HEADS, attn_mask=mask)),
                         "b2_h9_kv3_d8_dv10_q4_k6_f32_off6_wl0_wr0_sink5")

    def test_refuses_what_no_case_has(self):
        mask = np.arange(6) < np.full((4, 1), 5)
        with self.assertRaises(CaseError):
            problem(case(HEADS, {"is_causal": 1}, attn_mask=mask))
        with self.assertRaises(CaseError):
            problem(case(HEADS, past_key=np.zeros((2, 3, 12, 8))))


class WhyNot(unittest.TestCase):
    def test_names_the_reason(self):
        self.assertEqual(why_not(case(HEADS)), "")
        self.assertIn("float16", why_not(case(HEADS, dtype=np.float16)))
        self.assertIn("attn_mask",
                      why_not(case(HEADS, attn_mask=np.full((4, 6), 0.5))))
        self.assertIn("nonpad_kv_seqlen",
                      why_not(case(HEADS, nonpad_kv_seqlen=np.ones(2))))
        self.assertIn("float16",
                      why_not(case(HEADS, V=np.zeros(HEADS[2], np.float16))))

    def test_leaves_scores_aside(self):
        made = case(HEADS)
        made.outputs["qk_matmul_output"] = None
        self.assertEqual(why_not(made), "")

    def test_counts_the_keys_of_a_cache(self):
        cache = np.zeros((2, 3, 12, 8), np.float32)
        mask = np.ones((4, 18), bool)
        self.assertEqual(why_not(case(HEADS, attn_mask=mask, past_key=cache)),
                         "")
        mask[:, 3] = False
        self.assertIn("attn_mask",
                      why_not(case(HEADS, attn_mask=mask, past_key=cache)))


if __name__ == "__main__":
    unittest.main()
