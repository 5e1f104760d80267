"""Class activation maps: arrays in, arrays out.

Two kinds. Head type: the target is the class's logit *at each vision position*, and the layer the final normalised
states F, for which the gradient is the class's row w of the head. Answer type: the target is the answer's logit.

That the head type is what the paper's columns "CAM / Grad-CAM", "Grad-CAM++" and "Layer-CAM" show is our reading, for
no adaptation to autoregressive models is published: with the answer position's logit the gradient at that layer is 0
at every vision position.
"""

import torch


def gradcam(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017), which at the final states is CAM (Zhou et al. 2016): F w.

    Grad-CAM weighs channel k by the mean gradient over positions; the gradient of F_v w at v is w everywhere.

    Args:
        states: float32 [position, width]. weights: float32 [token, width], rows of the head.

    Returns:
        float32 [token, position], signed.
    """
    return weights @ states.T


def gradcam_plus_plus(states: torch.Tensor, vision: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Grad-CAM++ (Chattopadhyay et al. 2018): Σ_k ω_k F_k with ω_k = Σ_v α_vk (g_vk)+, α = g² / (2g² + g³ Σ_v F_vk).

    The gradient g_vk is w_k at every vision position v. The formula was made for activations that are not negative; F
    has both signs, so the denominator can pass 0, where ω explodes.

    Args:
        states: float32 [position, width]. vision: float32 [vision, width], those of them that are vision tokens.
        weights: float32 [token, width], rows of the head.

    Returns:
        float32 [token, position], signed.
    """
    squared = weights**2
    below = 2 * squared + squared * weights * vision.sum(0) + 1e-6
    alpha = torch.where(weights == 0, 0, squared / below)
    return (len(vision) * alpha * weights.clamp(min=0)) @ states.T


def layercam(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Layer-CAM (Jiang et al. 2021): Σ_k (g_vk)+ F_vk; arrays as ``gradcam``. F is not rectified."""
    return weights.clamp(min=0) @ states.T


def llava_cam(states: torch.Tensor, gradients: torch.Tensor, vision: torch.Tensor) -> torch.Tensor:
    """LLaVA-CAM: mean over channels k of a_k mean_v (g_vk)+, answer type, without its noisy copies of the picture.

    a are the states that the MLP of a layer reads (behind its norm), g the gradient of the answer's logit there, which
    is rectified before it is pooled over the vision tokens.

    Args:
        states, gradients: float32 [position, width]. vision: int64 [vision], positions.

    Returns:
        float32 [position], signed.
    """
    return (states * gradients[vision].clamp(min=0).mean(0)).mean(-1)
