"""One Gradio app a module; each file gives build_demo()."""
