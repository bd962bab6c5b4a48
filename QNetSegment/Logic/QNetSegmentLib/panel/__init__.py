"""The panel of the module: one class a section, over the widgets of Resources/UI/QNetSegment.ui."""
