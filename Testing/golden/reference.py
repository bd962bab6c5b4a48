"""Q-Net's equations in plain NumPy and float64, one image and one structure at a time.

Written from the paper and from the decisions in the documentation of the method, not from the package:
loops and explicit up-sampling instead of batches and transposed operators.
"""

from __future__ import annotations

import numpy as np

FLOAT32_EPSILON = 2.0**-23


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _source_positions(small, large, align_corners):
    """Position in the small grid that each sample of the large one reads."""
    out = np.arange(large)
    if align_corners:
        return out * (small - 1) / (large - 1)
    return np.maximum((out + 0.5) * small / large - 0.5, 0)


def upsample(x, size, align_corners):
    """Bilinear up-sampling of (..., h, w) to (..., *size)."""
    for axis, large in ((-2, size[0]), (-1, size[1])):
        small = x.shape[axis]
        position = _source_positions(small, large, align_corners)
        left = np.minimum(np.floor(position).astype(int), small - 1)
        right = np.minimum(left + 1, small - 1)
        share = position - left
        if axis == -2:
            share = share[:, None]
        x = np.take(x, left, axis) * (1 - share) + np.take(x, right, axis) * share
    return x


def masked_average(features, mask):
    """Eq. 1 as the paper words it: the features (C, h, w) are resized to the mask (H, W)."""
    resized = upsample(features, mask.shape, align_corners=False)
    return (resized * mask).sum(axis=(1, 2)) / (mask.sum() + 1e-5)


def anomaly(features, prototype, scale=20.0):
    """Eq. 2: (C, h, w) and (C,) to (h, w)."""
    height, width = features.shape[1:]
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            vector = features[:, i, j]
            length = max(np.linalg.norm(vector), 1e-8) * max(np.linalg.norm(prototype), 1e-8)
            out[i, j] = -scale * (vector @ prototype) / length
    return out


def probability(score, threshold, sharpness=0.5):
    """Eq. 3 with the released code's factor."""
    return 1 - sigmoid(sharpness * (score - threshold))


def fused(fine, coarse, size, alpha):
    """Eq. 6 on probability maps."""
    return alpha * upsample(fine, size, True) + (1 - alpha) * upsample(coarse, size, True)


def confident(features, prototype, threshold, sharpness=0.5, scale=20.0, level=0.5):
    return probability(anomaly(features, prototype, scale), threshold, sharpness) > level


def refine_closed_form(prototype, features, threshold, steps, blend):
    for _ in range(steps):
        mask = confident(features, prototype, threshold)
        if mask.any():
            prototype = (1 - blend) * prototype + blend * features[:, mask].mean(axis=1)
    return prototype


def reconstruction_loss(unit_prototype, features, mask):
    """Eq. 9's cross-entropy, target the query's own features; both maps in units of the query's range.

    Averaged over the replaced pixels, summed over channels.
    """
    low, high = features.min(), features.max()
    target = (features[:, mask] - low) / (high - low)
    rebuilt = unit_prototype[:, None]
    return -(target * np.log(rebuilt) + (1 - target) * np.log(1 - rebuilt)).mean(axis=1).sum()


def refine_reconstruction(prototype, features, threshold, steps, rate):
    """Plain gradient descent on `reconstruction_loss` with the derivative taken by hand."""
    low, high = features.min(), features.max()
    for _ in range(steps):
        mask = confident(features, prototype, threshold)
        if not mask.any():
            continue
        unit = np.clip((prototype - low) / (high - low), 1e-3, 1 - 1e-3)
        gradient = np.zeros_like(unit)
        for channel, r in enumerate(unit):
            targets = (features[channel, mask] - low) / (high - low)
            gradient[channel] = np.mean(-targets / r + (1 - targets) / (1 - r))
        prototype = low + (high - low) * (unit - rate * gradient)
    return prototype


def rebuilt_map(prototype, features, mask):
    return np.where(mask, prototype[:, None, None], features)


def released_loss(prototype, features, mask):
    """The released code's loss: cross-entropy with the query as input and the rebuilt map as target."""
    given = sigmoid((features - features.min()) / (features.max() - features.min()))
    x = rebuilt_map(prototype, features, mask)
    target = sigmoid((x - x.min()) / (x.max() - x.min()))
    return -(target * np.log(given) + (1 - target) * np.log(1 - given)).mean()


def released_gradient(prototype, features, mask):
    """Derivative of `released_loss`, with what flows through the rebuilt map's minimum and maximum.

    With v the query's min-max map, log(given) - log(1 - given) = v. With u the rebuilt map's min-max,
    target = sigmoid(u): dL/du = -v target (1 - target) / size. u = (x - low) / (high - low) gives
    du/dx = 1 / extent, du/dlow = (u - 1) / extent, du/dhigh = -u / extent; low and high belong in equal
    parts to the elements that attain them.
    """
    v = (features - features.min()) / (features.max() - features.min())
    x = rebuilt_map(prototype, features, mask)
    low, high = x.min(), x.max()
    u = (x - low) / (high - low)
    target = sigmoid(u)
    du = -v * target * (1 - target) / x.size
    dx = du / (high - low)
    for value, slope in ((low, (u - 1) / (high - low)), (high, -u / (high - low))):
        attained = x == value
        dx = dx + attained / attained.sum() * (du * slope).sum()
    return dx[:, mask].sum(axis=1)


def refine_released(prototype, features, threshold, steps=7, rate=0.01):
    """Adam (0.9, 0.999, 1e-8) on `released_loss`; the mask follows the prototype."""
    first, second = np.zeros_like(prototype), np.zeros_like(prototype)
    for step in range(1, steps + 1):
        mask = confident(features, prototype, threshold)
        gradient = released_gradient(prototype, features, mask)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = np.sqrt(second / (1 - 0.999**step))
        prototype = prototype - rate * first / (1 - 0.9**step) / (corrected + 1e-8)
    return prototype


def weighted_nll(foreground, target, weights=(0.1, 1.0)):
    """Mean over weights of -w_y log p_y, PyTorch's NLLLoss; p is clamped as the released code does."""
    total = weight_sum = 0.0
    for p, y in zip(foreground.ravel(), target.ravel().astype(int), strict=True):
        right = np.clip(p if y else 1 - p, FLOAT32_EPSILON, 1 - FLOAT32_EPSILON)
        total -= weights[y] * np.log(right)
        weight_sum += weights[y]
    return total / weight_sum


def predict(support, support_mask, query, threshold, alpha):
    """Probability of one structure of one image; support and query are (fine, coarse) features."""
    maps = [
        probability(anomaly(q, masked_average(s, support_mask)), t)
        for s, q, t in zip(support, query, threshold, strict=True)
    ]
    return fused(*maps, support_mask.shape, alpha)


def episode(support, support_mask, query, query_mask, threshold, alpha):
    """Query loss and alignment loss of one structure; the threshold is the query's in both directions."""
    predicted = predict(support, support_mask, query, threshold, alpha)
    segmentation = weighted_nll(predicted, query_mask)
    found = (predicted > 0.5).astype(float)
    if not found.any():
        return segmentation, 0.0
    aligned = predict(query, found, support, threshold, alpha)
    return segmentation, weighted_nll(aligned, support_mask, weights=(1.0, 1.0))
