# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a cheaper attention costs a language model: `heed eval`, `heed heads`.

Any causal model of Hugging Face transformers, on local texts. scores and tasks
need numpy alone; network and what runs models need torch and transformers.
"""
