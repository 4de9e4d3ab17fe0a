"""About shows the cards of both models that the app runs."""

import gradio as gr


def test_about_shows_the_cards_of_generator_and_classifier(running_app):
    texts = [block.value for block in running_app.blocks.blocks.values() if isinstance(block, gr.Markdown)]
    assert any(running_app.services.checkpoint.id in text for text in texts)
    card = next(text for text in texts if "A toy that has seen nothing" in text)
    assert "licence: none" not in card, "front matter is for machines"
