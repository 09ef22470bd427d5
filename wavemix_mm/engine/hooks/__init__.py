from wavemix_mm.engine.hooks.switch_optimizer_hook import SwitchOptimizerHook

__all__ = ["SwitchOptimizerHook"]
