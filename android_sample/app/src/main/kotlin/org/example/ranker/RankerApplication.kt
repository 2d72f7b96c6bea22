package org.example.ranker

import android.app.Application

/** Says where the model comes from, so that a test can give the screen another one. */
open class RankerApplication : Application() {
    open fun assetSource(): AssetSource = ApkAssets(assets)
}
