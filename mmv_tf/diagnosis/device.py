"""Device that a run is on, in a line before it begins; and why it is not the card that is there."""

from mmv_tf.diagnosis import graphics, machine


def lines(replicas: int) -> list[str]:
    """What to print of the devices of this process, of which `replicas` train."""
    driver, used, why = graphics.look()
    warning = [f"warning: a GPU is not used: {why}"] if why else []
    if used:
        shown = "; ".join(driver.cards) or f"{used} GPUs"
        return [f"device: {shown}; {min(used, replicas)} of {max(used, len(driver.cards))} in use", *warning]
    found = machine.memory()
    memory = f", {found[0]:.0f} of {found[1]:.0f} GiB of memory free" if found else ""
    return [f"device: CPU, {machine.cores()} cores{memory}", *warning]
