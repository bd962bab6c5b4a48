"""What QNetSegment needs in Slicer (`requirements`), and how it gets there (`installer`)."""
