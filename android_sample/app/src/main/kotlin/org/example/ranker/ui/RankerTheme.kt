package org.example.ranker.ui

import androidx.compose.foundation.isSystemInDarkTheme
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.darkColorScheme
import androidx.compose.material3.lightColorScheme
import androidx.compose.runtime.Composable
import androidx.compose.ui.graphics.Color

private val light =
    lightColorScheme(
        primary = Color(0xFF00696D),
        onPrimary = Color.White,
        primaryContainer = Color(0xFF9CF1F5),
        onPrimaryContainer = Color(0xFF002021),
        secondaryContainer = Color(0xFFCCE8E9),
        onSecondaryContainer = Color(0xFF041F20),
    )

private val dark =
    darkColorScheme(
        primary = Color(0xFF80D4D8),
        onPrimary = Color(0xFF003739),
        primaryContainer = Color(0xFF004F52),
        onPrimaryContainer = Color(0xFF9CF1F5),
        secondaryContainer = Color(0xFF324B4C),
        onSecondaryContainer = Color(0xFFCCE8E9),
    )

/** Follows the system's light or dark setting. */
@Composable
fun RankerTheme(content: @Composable () -> Unit) {
    MaterialTheme(colorScheme = if (isSystemInDarkTheme()) dark else light, content = content)
}
