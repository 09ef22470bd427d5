"""A web page that shows what a model predicts. It needs the extra `serve`."""

import os

# read when Gradio is imported
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
