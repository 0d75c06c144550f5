"""Write `language/peft`: low-rank pairs of a small SmolVLM as peft writes them, and weights as peft merges them.

    python tests/data/golden/make_peft.py

needs torch 2.13.0, transformers 5.24 and peft 0.21.2 (with accelerate). The network and the pairs are filled by
the rule in `tests/golden.py`; `merged.npz` has some rows and columns of every adapted weight.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.golden import FOLDER, fill
from tests.peers import transformers

library = transformers()
from peft import LoraConfig, get_peft_model  # noqa: E402  (it imports torchvision, which `transformers` prepares)

VISION = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 3,
          "image_size": 64, "patch_size": 16}  # fmt: skip
TEXT = {"model_type": "llama", "vocab_size": 64, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "pad_token_id": 0}  # fmt: skip


def filled(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            tensor.copy_(torch.from_numpy(fill(key, tuple(tensor.shape))))


def main() -> None:
    config = library.SmolVLMConfig(vision_config=VISION, text_config=TEXT, scale_factor=2, image_token_id=63)
    model = library.SmolVLMForConditionalGeneration(config)
    filled(model)
    pairs = LoraConfig(
        r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj", "fc1"], use_rslora=True,
        rank_pattern={"down_proj": 2}, alpha_pattern={"text_model.layers.1.self_attn.q_proj": 3},
        modules_to_save=["modality_projection"],
    )  # fmt: skip
    adapted = get_peft_model(model, pairs)
    with torch.no_grad():
        for key, tensor in adapted.state_dict().items():
            if "lora_" in key or ".modules_to_save." in key:
                tensor.copy_(torch.from_numpy(fill(key, tuple(tensor.shape))))
    folder = FOLDER / "language" / "peft"
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    merged = {
        key: tensor.numpy()[::5, ::7]
        for key, tensor in adapted.merge_and_unload().state_dict().items()
        if key.endswith(
            (*(f"{name}.weight" for name in pairs.target_modules), "k_proj.weight", "projection.proj.weight")
        )
    }
    np.savez_compressed(folder / "merged.npz", **merged)


if __name__ == "__main__":
    main()
