from wavemix_mm.engine.hooks.mean_loss_hook import MeanLossHook
from wavemix_mm.engine.hooks.switch_optimizer_hook import SwitchOptimizerHook

__all__ = ["MeanLossHook", "SwitchOptimizerHook"]
