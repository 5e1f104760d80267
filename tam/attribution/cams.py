"""Class activation maps: arrays in, arrays out.

Two kinds. Head type: the target is the class's logit *at each vision position*, and the layer the final normalised
states F, for which the gradient is the class's row w of the head. Answer type: the target is the answer's logit, which
has no gradient at F but in its own position, so that an earlier layer is read. No adaptation of these methods to
autoregressive models is published: each here is our reading.
"""

import torch


def gradcam(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017), which at the final states is CAM (Zhou et al. 2016): F w.

    Grad-CAM weighs channel k by the mean gradient over positions; the gradient of F_v w at v is w everywhere. That the
    target is the logit at each vision token is our reading for autoregressive models.

    Args:
        states: float32 [position, width]. weights: float32 [token, width], rows of the head.

    Returns:
        float32 [token, position], signed.
    """
    return weights @ states.T


def gradcam_plus_plus(states: torch.Tensor, vision: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Grad-CAM++ (Chattopadhyay et al. 2018): Σ_k ω_k F_k with ω_k = Σ_v α_vk (g_vk)+, α = g² / (2g² + g³ Σ_v F_vk).

    The gradient g_vk is w_k at every vision position v, as for ``gradcam``, which is our reading for autoregressive
    models. The formula was made for activations that are not negative; F has both signs, so the denominator can pass 0,
    where ω explodes.

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
    """Layer-CAM (Jiang et al. 2021): Σ_k (g_vk)+ F_vk; F is not rectified. Arrays, and our reading, as ``gradcam``."""
    return weights.clamp(min=0) @ states.T


def llava_cam(states: torch.Tensor, gradients: torch.Tensor, vision: torch.Tensor) -> torch.Tensor:
    """LLaVA-CAM: mean over channels k of a_k mean_v (g_vk)+, answer type, without its noisy copies of the picture.

    a are the states that the MLP of a layer reads (behind its norm), g the gradient of the answer's logit there, which
    is rectified before it is pooled over the vision tokens (Zhang et al. 2024). Which layer, a share of the depth for
    all models, and a token's logit by itself for autoregressive models are our reading.

    Args:
        states, gradients: float32 [position, width]. vision: int64 [vision], positions.

    Returns:
        float32 [position], signed.
    """
    return (states * gradients[vision].clamp(min=0).mean(0)).mean(-1)
