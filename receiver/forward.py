# SPDX-License-Identifier: Apache-2.0
"""The forward operator A = g after eta after f (eq. 9-11), differentiable.

Training minimises its distortion; InverseJSCC inverts it. Both call this one.
"""

from __future__ import annotations

from torch import Tensor, nn

from channel.physics import awgn
from transmitter.encoder import Encoder, encode


def send(
    encoder: Encoder,
    images: Tensor,
    snr_db: Tensor,
    unit_noise: Tensor,
    channels: int | None = None,
) -> Tensor:
    """Send images over AWGN -> complex64 [B, k]; arguments as in `ForwardOperator.forward`."""
    z = encode(encoder, images, snr_db, channels)
    z_hat: Tensor = awgn(z, snr_db, unit_noise[:, : z.shape[1]])
    return z_hat


class ForwardOperator(nn.Module):
    """The operator x -> g(eta(f(x))) over AWGN; g is the decoder of DeepJSCC or GenerativeJSCC."""

    def __init__(self, encoder: Encoder, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(
        self, images: Tensor, snr_db: Tensor, unit_noise: Tensor, channels: int | None = None
    ) -> Tensor:
        """Return x_hat of the images.

        Args:
            images: [B, 3, H, W] in [0, 1]; H and W multiples of 16.
            snr_db: [B] in dB, both the true SNR and the assumed one.
            unit_noise: [B, at least k] draws of CN(0, 1).
            channels: bottleneck channels to send (None: all).

        Returns:
            [B, 3, H, W] in [0, 1].
        """
        z_hat = send(self.encoder, images, snr_db, unit_noise, channels)
        height, width = images.shape[-2:]
        return self.decoder(z_hat, snr_db, (height, width))  # type: ignore[no-any-return]
