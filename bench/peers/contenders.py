# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Each form of attention that peers.py times, in the layout that suits it.

A contender is made of a problem and a number of threads; run() calls it once,
result() is float32 [batch, heads, tokens, head_dim]. What it cannot do raises.
"""

import functools

import ml_dtypes
import numpy as np

from ggml import Ggml


def f32(x):
    return np.asarray(x).astype(np.float32)


class Heed:
    def __init__(self, problem, threads, layout):
        import heed

        heed.set_num_threads(threads)
        self.turned = layout == "bshd"
        self.arrays = [
            np.ascontiguousarray(x.transpose(0, 2, 1, 3)) if self.turned else x
            for x in (problem.q, problem.k, problem.v)
        ]
        self.out = np.empty_like(self.arrays[0])
        self.call = functools.partial(
            heed.attention,
            *self.arrays,
            causal=problem.causal,
            layout=layout,
            out=self.out,
        )

    def run(self):
        self.call()

    def result(self):
        return f32(self.out.transpose(0, 2, 1, 3) if self.turned else self.out)


class Torch:
    """scaled_dot_product_attention, by PyTorch or by zentorch."""

    def __init__(self, problem, threads, zentorch=False):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.causal = torch, problem.causal
        self.q, self.k, self.v = (
            tensor_of(torch, x) for x in (problem.q, problem.k, problem.v)
        )
        self.zentorch = zentorch
        self.grouped = self.q.shape[1] != self.k.shape[1]
        if zentorch:
            import zentorch  # noqa: F401

            if self.grouped:
                raise RuntimeError("no groups")

    def run(self):
        with self.torch.inference_mode():
            if self.zentorch:
                self.out = self.torch.ops.zentorch.zentorch_sdpa(
                    self.q, self.k, self.v, 0.0, self.causal
                )[0]
                return
            self.out = self.torch.nn.functional.scaled_dot_product_attention(
                self.q, self.k, self.v, is_causal=self.causal, enable_gqa=self.grouped
            )

    def result(self):
        return self.out.float().numpy()


def tensor_of(torch, x):
    if x.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


class Flex:
    """FlexAttention, compiled for the problem."""

    def __init__(self, problem, threads):
        import torch
        from torch.nn.attention import flex_attention as flex

        torch.set_num_threads(threads)
        torch._dynamo.reset()  # one shape each, not one for several
        self.torch = torch
        q, k, v = (tensor_of(torch, x) for x in (problem.q, problem.k, problem.v))
        mask = None
        if problem.causal:
            ahead = k.shape[2] - q.shape[2]
            mask = flex.create_block_mask(
                lambda b, h, i, j: j <= i + ahead,
                None,
                None,
                q.shape[2],
                k.shape[2],
                device="cpu",
            )
        self.call = functools.partial(
            torch.compile(flex.flex_attention, dynamic=False),
            q,
            k,
            v,
            block_mask=mask,
            enable_gqa=q.shape[1] != k.shape[1],
        )

    def run(self):
        with self.torch.inference_mode():
            self.out = self.call()

    def result(self):
        return self.out.float().numpy()


class Onnx:
    """A model of one node in ONNX Runtime, on memory that is bound once."""

    def __init__(self, threads, domain, op, version, inputs, outputs, **attributes):
        import onnx
        import onnxruntime

        given = {name: x for name, x in inputs.items() if x is not None}
        kinds = {np.dtype(np.float32): 1, np.dtype(np.int32): 6}

        def told(arrays):
            return [
                onnx.helper.make_tensor_value_info(name, kinds[x.dtype], x.shape)
                for name, x in arrays.items()
            ]

        node = onnx.helper.make_node(
            op,
            [name if name in given else "" for name in inputs],
            list(outputs),
            domain=domain,
            **attributes,
        )
        graph = onnx.helper.make_graph([node], op, told(given), told(outputs))
        model = onnx.helper.make_model(
            graph,
            ir_version=10,
            opset_imports=[
                onnx.helper.make_opsetid("", 23),
                *([onnx.helper.make_opsetid(domain, version)] if domain else []),
            ],
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        self.model = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.binding = self.model.io_binding()
        self.held = [given, outputs]
        for bind, arrays in (
            (self.binding.bind_input, given),
            (self.binding.bind_output, outputs),
        ):
            for name, x in arrays.items():
                bind(name, "cpu", 0, x.dtype.type, x.shape, x.ctypes.data)

    def run(self):
        self.model.run_with_iobinding(self.binding)


def need_f32(problem):
    if problem.dtype != "f32":
        raise RuntimeError("f32 only")


class OnnxAttention(Onnx):
    """The standard operator Attention of opset 23."""

    def __init__(self, problem, threads):
        need_f32(problem)
        self.out = np.empty_like(problem.q)
        super().__init__(
            threads,
            "",
            "Attention",
            23,
            {"Q": problem.q, "K": problem.k, "V": problem.v},
            {"Y": self.out},
            is_causal=int(problem.causal),
        )

    def result(self):
        return self.out


class Flat(Onnx):
    """ONNX Runtime's own operators: [batch, tokens, heads * head_dim]."""

    def flat(self, x):
        b, _, n, _ = x.shape
        return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(b, n, -1)

    def result(self):
        b, n, _ = self.out.shape
        return self.out.reshape(b, n, self.heads, -1).transpose(0, 2, 1, 3)


class OnnxMultiHead(Flat):
    def __init__(self, problem, threads):
        need_f32(problem)
        q, k, v = problem.q, problem.k, problem.v
        if q.shape[1] != k.shape[1]:
            raise RuntimeError("no groups")
        self.heads = q.shape[1]
        self.out = np.empty_like(self.flat(q))
        super().__init__(
            threads,
            "com.microsoft",
            "MultiHeadAttention",
            1,
            {"q": self.flat(q), "k": self.flat(k), "v": self.flat(v)},
            {"out": self.out},
            num_heads=self.heads,
            unidirectional=int(problem.causal),
        )


class OnnxGrouped(Flat):
    """GroupQueryAttention: a prompt, or the last row on a cache in place."""

    def __init__(self, problem, threads):
        need_f32(problem)
        q, k, v = problem.q, problem.k, problem.v
        b, self.heads, rows, _ = q.shape
        keys = k.shape[2]
        if not problem.causal and rows > 1:
            raise RuntimeError("causal only")
        if rows not in (1, keys):
            raise RuntimeError("prompts and single rows only")
        self.out = np.empty_like(self.flat(q))
        caches = [k.copy(), v.copy()]
        past = caches if rows == 1 else [None, None]
        super().__init__(
            threads,
            "com.microsoft",
            "GroupQueryAttention",
            1,
            {
                "q": self.flat(q),
                "k": self.flat(k[:, :, keys - rows :]),
                "v": self.flat(v[:, :, keys - rows :]),
                "past_key": past[0],
                "past_value": past[1],
                "seqlens_k": np.full((b,), keys - 1, np.int32),
                "total_sequence_length": np.array([keys], np.int32),
            },
            {"out": self.out, "present_key": caches[0], "present_value": caches[1]},
            num_heads=self.heads,
            kv_num_heads=k.shape[1],
        )


class OpenVino:
    def __init__(self, problem, threads):
        import openvino
        from openvino import opset13

        if problem.case[1] != problem.case[2]:
            raise RuntimeError("no groups")
        arrays = (problem.q, problem.k, problem.v)
        narrow = self.narrow = problem.dtype == "bf16"
        kind = openvino.Type.bf16 if narrow else openvino.Type.f32
        inputs = [opset13.parameter(x.shape, kind) for x in arrays]
        node = opset13.scaled_dot_product_attention(*inputs, causal=problem.causal)
        compiled = openvino.Core().compile_model(
            openvino.Model([node], inputs),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": problem.dtype,
                "NUM_STREAMS": 1,
            },
        )
        self.request = compiled.create_infer_request()
        for i, x in enumerate(arrays):
            tensor = openvino.Tensor(kind, x.shape)
            place = tensor.data.view(np.uint16) if narrow else tensor.data
            place[:] = x.view(np.uint16) if narrow else x
            self.request.set_input_tensor(i, tensor)

    def run(self):
        self.request.infer()

    def result(self):
        data = self.request.get_output_tensor(0).data
        # numpy has no bfloat16: OpenVINO shows its bits as another type.
        return f32(data.view(ml_dtypes.bfloat16) if self.narrow else data)


HEED = {
    "heed": lambda *given: Heed(*given, "bhsd"),
    "heed bshd": lambda *given: Heed(*given, "bshd"),
}
OTHERS = {
    "torch": Torch,
    "torch flex": Flex,
    "ort attention": OnnxAttention,
    "ort mha": OnnxMultiHead,
    "ort gqa": OnnxGrouped,
    "openvino": OpenVino,
    "ggml": Ggml,
    "zentorch": lambda *given: Torch(*given, zentorch=True),
}
