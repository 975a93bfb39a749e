"""Linear-Gaussian chains as dense Gaussians over all T S numbers of a trajectory."""

import jax
import jax.numpy as jnp


@jax.jit
def dense(chain, linear, precision, emission):
    """The log-normaliser and all moments of one trajectory, from T S × T S matrices.

    Args:
        chain: S states, T sites; A, b and Q of each step, or with a time axis of 1 of all.
        linear: λ1, shape (T, K).
        precision: −2λ2, shape (T, K, K).
        emission: What potentials are of, H z_t, shape (K, S) or (T, K, S); None: the states.

    Returns:
        The log-normaliser; the means (T, S), covariances (T, S, S) and Cov[z_t, z_t+1] (T − 1, S, S)
        given the potentials; the prior's covariances (T, S, S); the joint covariance (T S, T S) given them.
    """
    num_sites, size = linear.shape[0], chain.state_size
    steps = num_sites - 1
    transition = jnp.broadcast_to(chain.transition, (steps, size, size))
    bias = jnp.broadcast_to(chain.bias, (steps, size))
    noise = jnp.broadcast_to(chain.noise, (steps, size, size))
    # Z = mean + the sum over what was added at every step, moved along.
    blocks, means = [], [chain.initial_mean]
    sources = [chain.initial_covariance, *noise]
    moved = jnp.eye(size)[None]
    for t in range(num_sites):
        if t:
            means.append(transition[t - 1] @ means[-1] + bias[t - 1])
            moved = jnp.concatenate([transition[t - 1] @ moved, jnp.eye(size)[None]])
        blocks.append(jnp.concatenate([moved, jnp.zeros((num_sites - t - 1, size, size))]))
    spread = jnp.stack(blocks)
    joint = jnp.einsum("tiab,ibc,sidc->tasd", spread, jnp.stack(sources), spread)
    mean, joint = jnp.concatenate(means), joint.reshape(num_sites * size, -1)
    rows = jnp.eye(size) if emission is None else emission
    rows = jnp.broadcast_to(rows, (num_sites, *rows.shape[-2:]))
    weight = jax.scipy.linalg.block_diag(*(jnp.swapaxes(rows, 1, 2) @ precision @ rows))
    force = jnp.einsum("tka,tk->ta", rows, linear).reshape(-1)
    inner = jnp.eye(len(mean)) + joint @ weight
    covariance = jnp.linalg.solve(inner, joint)
    residual = force - weight @ mean
    log_normalizer = (
        mean @ force
        - 0.5 * mean @ weight @ mean
        + 0.5 * residual @ covariance @ residual
        - 0.5 * jnp.linalg.slogdet(inner)[1]
    )
    blocks = covariance.reshape(num_sites, size, num_sites, size)
    here = jnp.arange(num_sites)
    return (
        log_normalizer,
        (mean + covariance @ residual).reshape(num_sites, size),
        blocks[here, :, here],
        blocks[here[:-1], :, here[1:]],
        joint.reshape(blocks.shape)[here, :, here],
        covariance,
    )
