"""Generated protocol modules; made from proto/farlane/v1, never edited by hand."""
